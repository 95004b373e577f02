package redistest

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// history reads "a1 a2 b1": topic a or b, message ID a1...
func history(s string) []Event {
	var events []Event
	for _, id := range strings.Fields(s) {
		events = append(events, Event{Topic: id[:1], MessageID: id})
	}
	return events
}

func TestCheckFindsWhatIsWrongWithAHistory(t *testing.T) {
	for _, tt := range []struct {
		name, appended, received, mayRepeat string
		want                                []string
	}{
		{"nothing at all", "", "", "", nil},
		{"all of it in order", "a1 a2 a3", "a1 a2 a3", "", nil},
		{"topics do not wait for each other", "a1 b1 a2 b2", "b1 b2 a1 a2", "", nil},
		{"the first is lost", "a1 a2", "a2", "", []string{"a a1: lost (position 0)"}},
		{"the last is lost", "a1 a2 b1", "a1 b1", "", []string{"a a2: lost (position 1)"}},
		{"a whole topic is lost", "a1 b1 b2", "a1", "", []string{"b b1: lost (position 0)", "b b2: lost (position 1)"}},
		{"two are swapped", "a1 a2 a3", "a2 a1 a3", "", []string{"a a1: out of order (position 1)"}},
		{"a late one is late, not lost", "a1 a2 a3", "a2 a3 a1", "", []string{"a a1: out of order (position 2)"}},
		{"one comes twice", "a1 a2", "a1 a1 a2", "", []string{"a a1: repeated (position 1)"}},
		{"one comes twice, later", "a1 a2", "a1 a2 a1", "a2", []string{"a a1: repeated (position 2)"}},
		{"one comes three times", "a1", "a1 a1 a1", "", []string{"a a1: repeated (position 1)", "a a1: repeated (position 2)"}},
		{"one was never appended", "a1", "a1 a9", "", []string{"a a9: unknown (position 1)"}},
		{"one came on the wrong topic", "a1 b1", "a1 b1 c1", "", []string{"c c1: unknown (position 0)"}},
		{"everything is wrong at once", "a1 a2 a3 a4", "a3 a1 a3 a9", "", []string{
			"a a1: out of order (position 1)", "a a3: repeated (position 2)", "a a9: unknown (position 3)",
			"a a2: lost (position 1)", "a a4: lost (position 3)"}},

		{"the tail again, in order", "a1 a2 a3 a4", "a1 a2 a3 a2 a3 a4", "a2 a3", nil},
		{"the last one again", "a1 a2", "a1 a2 a2", "a2", nil},
		{"a part of the tail again", "a1 a2 a3 a4", "a1 a2 a3 a1 a3 a4", "a1 a2 a3", nil},
		{"the tail twice", "a1 a2 a3", "a1 a2 a1 a2 a1 a2 a3", "a1 a2", nil},
		{"a run that breaks off and starts later", "a1 a2 a3 a4", "a1 a2 a3 a1 a2 a2 a3 a4", "a1 a2 a3", nil},
		{"a run after a first delivery starts anew", "a1 a2 a3", "a1 a2 a2 a3 a1 a2 a3", "a1 a2 a3", nil},
		{"the tail again, backwards", "a1 a2 a3", "a1 a2 a3 a3 a2 a1", "a1 a2 a3", []string{
			"a a2: out of order (position 4)", "a a1: out of order (position 5)"}},
		{"a new one inside a run that goes back", "a1 a2 a3", "a1 a3 a1 a2 a3", "a1 a3", []string{"a a2: out of order (position 3)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mayRepeat := map[string]bool{}
			for _, id := range strings.Fields(tt.mayRepeat) {
				mayRepeat[id] = true
			}
			var got []string
			for _, f := range Check(history(tt.appended), history(tt.received), mayRepeat) {
				got = append(got, f.String())
			}
			require.Equal(t, tt.want, got)
		})
	}
}

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

// reasons reads "a1=parked a2=replayed,parked".
func reasons(s string) map[string]string {
	m := map[string]string{}
	for _, word := range strings.Fields(s) {
		id, why, _ := strings.Cut(word, "=")
		m[id] = why
	}
	return m
}

func found(findings []Finding) []string {
	var lines []string
	for _, f := range findings {
		lines = append(lines, f.String())
	}
	return lines
}

func TestAHistoryOfSeveralSubscribers(t *testing.T) {
	for _, tt := range []struct {
		name, appended, first, second, excused string
		topicsOfSecond                         []string
		want                                   []string
	}{
		{"both have it all", "a1 b1 a2", "a1 a2 b1", "b1 a1 a2", "", nil, nil},
		{"one lacks one, the other has it twice", "a1 a2", "a1", "a1 a2 a2", "", nil, []string{
			"first: a a2: lost (position 1)", "second: a a2: repeated (position 2)"}},
		{"one is there for a topic only", "a1 b1", "a1 b1", "b1", "", []string{"b"}, nil},
		{"one is there for a topic only, and lacks it", "a1 b1", "a1 b1", "", "", []string{"b"}, []string{"second: b b1: lost (position 0)"}},
		{"one gets what it is not there for", "a1 b1", "a1 b1", "a1 b1", "", []string{"b"}, []string{"second: a a1: unknown (position 0)"}},

		{"every reason excuses", "a1 a2 a3 a4 a5", "a5", "a5", "a1=parked a2=discarded a3=unheard a4=pending", nil, nil},
		{"what is excused may arrive", "a1 a2", "a1 a2", "a2", "a1=unheard", nil, nil},
		{"what is excused arrives late", "a1 a2", "a2 a1", "a2", "a1=unheard", nil, []string{"first: a a1: out of order (position 1)"}},
		{"what is excused arrives twice", "a1 a2", "a1 a1 a2", "a2", "a1=unheard", nil, []string{"first: a a1: repeated (position 1)"}},

		{"a replay arrives", "a1 a2 a1", "a2 a1", "a2 a1", "a1=replayed", nil, nil},
		{"a replay arrives next", "a1 a1 a2", "a1 a2", "a1 a2", "a1=reheard", nil, nil},
		{"a replay does not arrive", "a1 a2 a1", "a2", "a2 a1", "a1=replayed", nil, []string{"first: a a1: lost (position 2)"}},
		{"a replay arrives where its original would have", "a1 a2 a1", "a1 a2", "a2 a1", "a1=replayed", nil, []string{"first: a a2: out of order (position 1)"}},
		{"a replay is parked again and discarded", "a1 a2 a1 a1", "a2", "a2", "a1=replayed,replayed,discarded", nil, nil},
		{"appended twice, due twice", "a1 a2 a1", "a1 a2 a1", "a1 a2 a1", "", nil, nil},
		{"appended twice, arrived once", "a1 a2 a1", "a1 a2", "a2 a1", "", nil, []string{
			"first: a a1: lost (position 2)", "second: a a1: lost (position 0)"}},
		{"appended twice, arrived three times", "a1 a2 a1", "a1 a2 a1 a1", "a1 a2 a1", "", nil, []string{"first: a a1: repeated (position 3)"}},
		{"appended twice, the second before its turn", "a1 a2 a1", "a1 a1 a2", "a1 a2 a1", "", nil, []string{"first: a a2: out of order (position 2)"}},

		{"no such reason", "a1", "a1", "a1", "a1=forgotten", nil, []string{`excused: a1: unexplained: "forgotten" is no reason`}},
		{"more reasons than appends", "a1", "a1", "a1", "a1=replayed,parked", nil, []string{"excused: a1: unexplained: 2 reasons for 1 appends"}},
		{"an excuse for what was never appended", "a1", "a1", "a1", "a9=parked", nil, []string{"excused: a9: unexplained: 1 reasons for 0 appends"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := History{
				Appended:    history(tt.appended),
				Subscribers: map[string][]Event{"first": history(tt.first), "second": history(tt.second)},
				Excused:     reasons(tt.excused),
			}
			if tt.topicsOfSecond != nil {
				h.Topics = map[string][]string{"second": tt.topicsOfSecond}
			}
			require.Equal(t, tt.want, found(h.Check()))
		})
	}
}

func TestARepeatedRunOfWhatWasAppendedTwice(t *testing.T) {
	all := map[string]bool{"a1": true, "a2": true, "a3": true, "a4": true}
	for _, tt := range []struct {
		name, appended, received, excused string
		want                              []string
	}{
		{"before the second append", "a1 a2 a3 a1", "a1 a2 a1 a2 a3 a1", "", nil},
		{"across the second append", "a1 a2 a1 a3", "a1 a2 a1 a2 a1 a3", "", nil},
		{"after an original that never arrived", "a1 a2 a1 a3", "a2 a1 a3 a2 a1 a3", "a1=replayed", nil},
		{"and the second one is lost", "a1 a2 a3 a1", "a1 a2 a1 a2 a3", "", []string{"s: a a1: lost (position 3)"}},
		{"and it goes back within the run", "a1 a2 a1 a3 a4", "a1 a2 a1 a3 a3 a2 a4", "", []string{"s: a a2: out of order (position 5)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, found(History{Appended: history(tt.appended), MayRepeat: all,
				Subscribers: map[string][]Event{"s": history(tt.received)}, Excused: reasons(tt.excused)}.Check()))
		})
	}
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

func TestAHistoryOfCounts(t *testing.T) {
	type counts = map[string]TopicCounts
	for _, tt := range []struct {
		name, appended, received, stream, excused string
		status                                    counts
		want                                      []string
	}{
		{"nobody looked", "a1", "a1", "a1", "", nil, nil},
		{"all delivered", "a1 a2", "a1 a2", "a1 a2", "", counts{"a": {Appended: 2, Delivered: 2}}, nil},
		{"every state once", "a1 a2 a3 a4 a4 a5 a5 a6 a7", "a4 a5 a6", "a3 a4 a5 a5 a6",
			"a1=parked a2=discarded a3=unheard a4=replayed a5=reheard a7=pending",
			counts{"a": {Appended: 9, Pending: 1, Delivered: 5, Unheard: 1, Parked: 1, Discarded: 1, Replayed: 1}}, nil},
		{"what was pending has been settled", "a1 a2", "a1", "a1 a2", "a2=pending",
			counts{"a": {Appended: 2, Delivered: 1, Pending: 1}}, nil},
		{"a topic that only status knows", "a1", "a1", "a1", "", counts{"a": {Appended: 1, Delivered: 1}, "b": {}, "c": {Appended: 1, Delivered: 1}},
			[]string{"status: c: unexplained: appended 1, while 0 were",
				"status: c: unexplained: delivered 1 and heard, while 0 were"}},
		{"a topic that status does not know", "a1", "a1", "a1", "", counts{}, []string{"status: a: unexplained: appended 0, while 1 were"}},
		{"one append is not counted", "a1 a2", "a1 a2", "a1 a2", "", counts{"a": {Appended: 1, Delivered: 1}},
			[]string{"status: a: unexplained: appended 1, while 2 were"}},
		{"one append is counted twice", "a1 a2", "a1 a2", "a1 a2", "", counts{"a": {Appended: 3, Delivered: 2, Pending: 1}},
			[]string{"status: a: unexplained: appended 3, while 2 were",
				"status: a: unexplained: pending 1, while at most 0 can be"}},
		{"the states do not add up", "a1 a2", "a1 a2", "a1 a2", "", counts{"a": {Appended: 2, Delivered: 1}},
			[]string{"status: a: unexplained: pending 0 + delivered 1 + parked 0 + discarded 0 + replayed 0 is not appended 2"}},
		{"pending, though everything arrived", "a1 a2", "a1 a2", "a1 a2", "", counts{"a": {Appended: 2, Delivered: 1, Pending: 1}},
			[]string{"status: a: unexplained: pending 1, while at most 0 can be"}},
		{"pending, though the stream has it", "a1 a2", "a1", "a1 a2", "a2=unheard", counts{"a": {Appended: 2, Delivered: 1, Pending: 1}},
			[]string{"status: a: unexplained: unheard 0, while 1 were",
				"status: a: unexplained: pending 1, while at most 0 can be"}},
		{"parked, which nobody knows of", "a1 a2", "a1", "a1", "a2=discarded", counts{"a": {Appended: 2, Delivered: 1, Parked: 1}},
			[]string{"status: a: unexplained: parked 1, while 0 were",
				"status: a: unexplained: discarded 0, while 1 were"}},
		{"replayed, and not counted", "a1 a1", "a1", "a1", "a1=replayed", counts{"a": {Appended: 2, Delivered: 2}},
			[]string{"status: a: unexplained: replayed 0, while 1 were",
				"status: a: unexplained: delivered 2 and heard, while 1 were"}},
		{"unheard, though nothing was", "a1 a2", "a1 a2", "a1 a2", "", counts{"a": {Appended: 2, Delivered: 2, Unheard: 1}},
			[]string{"status: a: unexplained: unheard 1, while 0 were"}},
		{"unheard, and not delivered", "a1", "", "a1", "a1=unheard", counts{"a": {Appended: 1, Pending: 0, Discarded: 1, Unheard: 1}},
			[]string{"status: a: unexplained: discarded 1, while 0 were",
				"status: a: unexplained: unheard 1 of delivered 0"}},
		{"delivered, and nobody got it", "a1 a2", "a1", "a1 a2", "", counts{"a": {Appended: 2, Delivered: 2}},
			[]string{"sub: a a2: lost (position 1)",
				"status: a: unexplained: delivered 2 and heard, while 1 were"}},
		{"a lost one is pending for ever", "a1 a2", "a1", "a1", "", counts{"a": {Appended: 2, Delivered: 1, Pending: 1}},
			[]string{"sub: a a2: lost (position 1)", "s: a a2: lost (position 1)"}},
		{"a repeat is no second delivery", "a1 a2", "a1 a1 a2", "a1 a2", "", counts{"a": {Appended: 2, Delivered: 2}},
			[]string{"sub: a a1: repeated (position 1)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := History{
				Appended:    history(tt.appended),
				Subscribers: map[string][]Event{"sub": history(tt.received)},
				Streams:     map[string][]StreamEntry{"s": entries(tt.stream)},
				Status:      tt.status,
				Excused:     reasons(tt.excused),
			}
			require.Equal(t, tt.want, found(h.Check()))
		})
	}
}

func TestCountsWithoutASubscriberSayNothingOfHearing(t *testing.T) {
	require.Empty(t, History{
		Appended: history("a1"),
		Streams:  map[string][]StreamEntry{"s": entries("a1")},
		Status:   map[string]TopicCounts{"a": {Appended: 1, Delivered: 1}},
	}.Check())
}

// Whatever a relay may rightly do is found right, and with any arrival taken
// away it is found wrong.
func TestRightHistoriesHaveNoFindings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var appended, published []Event
		excused, mayRepeat := map[string]string{}, map[string]bool{}
		for i := range rapid.IntRange(1, 12).Draw(t, "messages") {
			e := Event{Topic: "a", MessageID: "a" + strconv.Itoa(i)}
			appended = append(appended, e)
			if rapid.IntRange(0, 3).Draw(t, "excused") == 0 {
				excused[e.MessageID] = Parked
			} else {
				published = append(published, e)
			}
			for _, old := range appended {
				if excused[old.MessageID] == Parked && rapid.IntRange(0, 5).Draw(t, "replay") == 0 {
					appended, published = append(appended, old), append(published, old)
					excused[old.MessageID] = Replayed
				}
			}
		}
		received, runStart := []Event{}, 0
		for next := 0; next < len(published); next++ {
			received = append(received, published[next])
			if len(received) < 50 && rapid.IntRange(0, 4).Draw(t, "the server dies") == 0 {
				runStart = rapid.IntRange(runStart, next).Draw(t, "published again from")
				for _, e := range published[runStart : next+1] {
					mayRepeat[e.MessageID] = true
				}
				next = runStart - 1
			}
		}
		h := History{Appended: appended, Subscribers: map[string][]Event{"s": received}, MayRepeat: mayRepeat, Excused: excused}
		require.Empty(t, h.Check())

		if len(published) == 0 {
			return
		}
		gone := rapid.SampledFrom(published).Draw(t, "gone")
		h.Subscribers["s"] = slices.DeleteFunc(received, func(e Event) bool { return e == gone })
		require.NotEmpty(t, h.Check())
	})
}
