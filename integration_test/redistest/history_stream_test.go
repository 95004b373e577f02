package redistest

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// entries reads "a1 a2@7 a3@x9": topic and message ID as in history, then the
// sequence, with the letter of the origin if it is not o. Without one, it counts.
func entries(s string) []StreamEntry {
	list := []StreamEntry{} // a stream without entries is one, too
	for i, word := range strings.Fields(s) {
		id, place, _ := strings.Cut(word, "@")
		e := StreamEntry{Topic: id[:1], MessageID: id, Origin: "o", Sequence: uint64(i + 1)}
		if place != "" {
			digits := strings.TrimLeft(place, "xyz")
			if letter := strings.TrimSuffix(place, digits); letter != "" {
				e.Origin = letter
			}
			e.Sequence, _ = strconv.ParseUint(digits, 10, 64)
		}
		list = append(list, e)
	}
	return list
}

func TestAHistoryOfStreams(t *testing.T) {
	for _, tt := range []struct {
		name, appended, stream, excused string
		trimmed                         bool
		want                            []string
	}{
		{"it holds all", "a1 b1 a2", "a1 b1 a2", "", false, nil},
		{"it holds nothing", "a1", "", "", false, []string{"every stream: a a1: lost (position 0)"}},
		{"it lacks a topic", "a1 b1", "a1", "", false, []string{"every stream: b b1: lost (position 0)"}},
		{"it lacks one", "a1 a2 a3", "a1 a3", "", false, []string{"s: a a2: lost (position 1)"}},
		{"it lacks the last one", "a1 a2", "a1", "", false, []string{"s: a a2: lost (position 1)"}},
		{"it holds one twice, by message ID", "a1 a2", "a1 a2 a2", "", false, []string{"s: a a2: repeated (position 2)"}},
		{"it holds one twice, by sequence", "a1 a2", "a1@1 a2@1", "", false, []string{
			"s: a a2: lost (position 1)", "s: a a2: repeated (position 1)"}},
		{"it holds one twice, by both", "a1 a2", "a1@1 a2@2 a2@2", "", false, []string{"s: a a2: repeated (position 2)"}},
		{"a place is taken by another topic", "a1 b1", "a1@1 b1@1", "", false, []string{
			"s: b b1: lost (position 0)", "s: b b1: repeated (position 0)"}},
		{"the same sequence of a fresh origin", "a1 a2", "a1@1 a2@x1", "", false, nil},
		{"two are swapped", "a1 a2", "a2@2 a1@1", "", false, []string{"s: a a1: out of order (position 1)"}},
		{"two are swapped, the sequences are not", "a1 a2", "a2@1 a1@2", "", false, []string{"s: a a1: out of order (position 1)"}},
		{"only the sequences are swapped", "a1 a2", "a1@2 a2@1", "", false, []string{"s: a a2: out of order (position 1)"}},
		{"sequences of topics are apart", "a1 b1", "b1@2 a1@1", "", false, nil},
		{"sequences have gaps", "a1 a2", "a1@5 a2@900", "", false, nil},
		{"one was never appended", "a1", "a1 a9", "", false, []string{"s: a a9: unknown (position 1)"}},
		{"parked, discarded, replayed and pending ones are not in it", "a1 a2 a3 a3 a4", "a3", "a1=parked a2=discarded a3=replayed a4=pending", false, nil},
		{"unheard ones are", "a1 a2", "a2", "a1=unheard", false, []string{"s: a a1: lost (position 0)"}},
		{"and so are those that were heard later", "a1 a2 a1", "a1 a2 a1", "a1=reheard", false, nil},
		{"a deliberate replay is in it again", "a1 a2 a1", "a1 a2 a1", "", false, nil},
		{"a deliberate replay under its old sequence", "a1 a2 a1", "a1@1 a2@2 a1@1", "", false, []string{
			"s: a a1: lost (position 2)", "s: a a1: repeated (position 2)"}},

		{"the front is trimmed", "a1 a2 b1 a3", "b1 a3", "", true, nil},
		{"the front is missing, not trimmed", "a1 a2", "a2", "", false, []string{"s: a a1: lost (position 0)"}},
		{"trimmed, and one lost in the middle", "a1 a2 a3 a4", "a2 a4", "", true, []string{"s: a a3: lost (position 2)"}},
		{"trimmed, and the last one lost", "a1 a2 a3", "a2", "", true, []string{"s: a a3: lost (position 2)"}},
		{"trimmed before a replay", "a1 a2 a1", "a1", "", true, nil},
		{"trimmed of everything, which no MAXLEN does", "a1 a2", "a2 a1", "", true, []string{"s: a a1: out of order (position 1)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, found(History{
				Appended: history(tt.appended),
				Streams:  map[string][]StreamEntry{"s": entries(tt.stream)},
				Trimmed:  map[string]bool{"s": tt.trimmed},
				Excused:  reasons(tt.excused),
				// That subscribers may see it again does not excuse a stream.
				MayRepeat: map[string]bool{"a1": true, "a2": true, "b1": true},
			}.Check()))
		})
	}
}

func TestAHistoryOfAStreamPerTopic(t *testing.T) {
	h := History{
		Appended: history("a1 b1 a2"),
		Streams:  map[string][]StreamEntry{"sa": entries("a1 a2"), "sb": entries("b1")},
	}
	require.Empty(t, h.Check(), "each stream is there for the topics that are in it")

	h.Topics = map[string][]string{"sa": {"a"}, "sb": {"b"}}
	require.Empty(t, h.Check())
	h.Streams["sb"] = nil
	require.Equal(t, []string{"sb: b b1: lost (position 0)"}, found(h.Check()))
	h.Streams["sb"] = entries("b1 a1")
	require.Equal(t, []string{"sb: a a1: unknown (position 0)"}, found(h.Check()))
}
