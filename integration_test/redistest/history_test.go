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
