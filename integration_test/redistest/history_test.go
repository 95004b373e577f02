package redistest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
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

func TestEventsOfMessages(t *testing.T) {
	require.Equal(t, []Event{{"updates", "x"}, {"ch2", ""}, {"updates", "not an envelope"}}, Events([]Message{
		{Channel: "ch1", Payload: []byte(`{"message_id":"x"}`)},
		{Channel: "ch2", Payload: []byte(`{}`)},
		{Channel: "ch1", Payload: []byte(`no`)},
	}, map[string]string{"ch1": "updates"}, EnvelopeID))
}
