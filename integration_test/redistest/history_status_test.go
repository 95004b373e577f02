package redistest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

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
