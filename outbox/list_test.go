package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// openListed has one event in each state, and a second topic in between.
func openListed(t *testing.T) (*Outbox, time.Time) {
	clock := newClock()
	begin := clock.Now()
	o := openTemp(t, Options{Now: clock.Now})
	for i, id := range []string{"1", "2", "3", "4", "5", "6"} {
		topic := "a"
		if i == 2 {
			topic = "b"
		}
		add(t, o, event(topic, id))
		clock.advance(time.Minute)
	}
	require.NoError(t, o.Park(ctx, "a", 1, Failure{Attempts: 3, Class: "poison", Text: "too big"}))
	require.NoError(t, o.Park(ctx, "a", 2, Failure{Attempts: 1, Class: "damaged", Text: "checksum"}))
	settle(t, o, "a", 5, 5)
	_, err := o.Replay(ctx, []uint64{2}, ReplayOptions{})
	require.NoError(t, err)
	return o, begin
}

func TestListSelects(t *testing.T) {
	o, begin := openListed(t)
	for name, tc := range map[string]struct {
		filter Filter
		want   []uint64
	}{
		"everything, in order over all topics": {Filter{}, []uint64{1, 2, 3, 4, 5, 6, 7}},
		"a topic":                              {Filter{Topic: "b"}, []uint64{3}},
		"an unknown topic":                     {Filter{Topic: "c"}, nil},
		"pending":                              {Filter{State: Pending}, []uint64{3, 6, 7}},
		"delivered, unheard ones included":     {Filter{State: Delivered}, []uint64{4, 5}},
		"unheard":                              {Filter{State: Unheard}, []uint64{5}},
		"parked":                               {Filter{State: Parked}, []uint64{1}},
		"replayed":                             {Filter{State: Replayed}, []uint64{2}},
		"discarded":                            {Filter{State: Discarded}, nil},
		"held, which only a relay knows of":    {Filter{State: Held}, nil},
		"a range":                              {Filter{After: 2, Through: 4}, []uint64{3, 4}},
		"a time":                               {Filter{Since: begin.Add(time.Minute), Until: begin.Add(3 * time.Minute)}, []uint64{2, 3}},
		"an error":                             {Filter{Error: "too big"}, []uint64{1}},
		"no more than the limit":               {Filter{Limit: 2, After: 1}, []uint64{2, 3}},
		"a state and a range":                  {Filter{State: Pending, After: 3}, []uint64{6, 7}},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := o.List(ctx, tc.filter)
			require.NoError(t, err)
			var got []uint64
			for _, info := range list {
				got = append(got, info.Sequence)
			}
			require.Equal(t, tc.want, got)
		})
	}
}

func TestInfoIsWhatScriptsRelyOn(t *testing.T) {
	o, _ := openListed(t)
	list, err := o.List(ctx, Filter{State: Parked})
	require.NoError(t, err)
	line, err := json.Marshal(list[0])
	require.NoError(t, err)
	require.JSONEq(t, `{"sequence":1,"topic":"a","state":"parked","message_id":"1","appended_at":"2025-09-21T10:30:00Z",
		"bytes":9,"attempts":3,"last_error":"poison: too big","replay_of":0}`, string(line))
}

func TestGet(t *testing.T) {
	o, _ := openListed(t)
	entry, info, err := o.Get(ctx, 7)
	require.NoError(t, err)
	require.Equal(t, "2 payload", string(entry.Payload))
	require.EqualValues(t, 2, info.ReplayOf)
	require.Equal(t, Pending, info.State)
	_, _, err = o.Get(ctx, 99)
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, "event #99")
}

func TestBackCountsTheEventsOfATopicFromItsEnd(t *testing.T) {
	o := openTemp(t, Options{})
	add(t, o, append(events("a", "1"), append(events("b", "2"), events("a", "3", "4", "5")...)...)...) // #1 to #5
	for _, tc := range []struct {
		name    string
		topic   string
		through uint64
		n       int
		want    uint64
	}{
		{"the last two", "a", 5, 2, 3},
		{"counted from the middle", "a", 4, 2, 1},
		{"counted from another topic's event", "a", 2, 1, 0},
		{"from beyond the end", "a", 99, 1, 4},
		{"none at all", "a", 5, 0, 5},
		{"more than there are", "a", 5, 100, 0},
		{"a topic without events", "c", 5, 2, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			after, err := o.Back(ctx, tc.topic, tc.through, tc.n)
			require.NoError(t, err)
			require.Equal(t, tc.want, after)
		})
	}
	require.NoError(t, o.Close())
	_, err := o.Back(ctx, "a", 5, 2)
	require.ErrorIs(t, err, ErrClosed)
}

func TestMessageID(t *testing.T) {
	o, _ := openListed(t)
	for name, tc := range map[string]struct {
		topic    string
		sequence uint64
		want     string
	}{
		"of an event":                  {"b", 3, "3"},
		"of an event of another topic": {"a", 3, ""},
		"of a topic without events":    {"c", 3, ""},
		"of whichever topic":           {"", 3, "3"},
		"of no topic at all":           {"", 1000, ""},
	} {
		t.Run(name, func(t *testing.T) {
			id, err := o.MessageID(ctx, tc.topic, tc.sequence)
			require.NoError(t, err)
			require.Equal(t, tc.want, id)
		})
	}
}

func TestReadKeepsToItsRange(t *testing.T) {
	o, _ := openListed(t)
	for name, tc := range map[string]struct {
		r    Range
		want []uint64
	}{
		"parked and replayed ones are passed over": {Range{Topic: "a", Events: 9, Bytes: 1000}, []uint64{4, 5, 6, 7}},
		"after and through":                        {Range{Topic: "a", After: 4, Through: 6, Events: 9, Bytes: 1000}, []uint64{5, 6}},
		"so many events":                           {Range{Topic: "a", Events: 2, Bytes: 1000}, []uint64{4, 5}},
		"so many bytes":                            {Range{Topic: "a", Events: 9, Bytes: 18}, []uint64{4, 5}},
		"but always one event":                     {Range{Topic: "a", Events: 9, Bytes: 1}, []uint64{4}},
		"a topic without events":                   {Range{Topic: "c", Events: 9, Bytes: 1000}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			entries, err := o.Read(ctx, tc.r)
			require.NoError(t, err)
			var got []uint64
			for _, e := range entries {
				require.NoError(t, e.Err)
				got = append(got, e.Sequence)
			}
			require.Equal(t, tc.want, got)
		})
	}
}

func TestStatsCountTheWholeOutboxAndFindTheOldestPending(t *testing.T) {
	o, begin := openListed(t)
	stats, err := o.Stats(ctx)
	require.NoError(t, err)
	require.NotZero(t, stats.FileBytes)
	require.NotZero(t, stats.Bytes)
	stats.FileBytes, stats.Bytes, stats.Origin = 0, 0, ""
	require.Equal(t, Stats{Epoch: 1, LastSequence: 7, Events: 7, Topics: []TopicStats{
		{Topic: "a", LastSequence: 7, Cursor: 5, Appended: 6, Pending: 2, Delivered: 2, Unheard: 1, Parked: 1, Replayed: 1,
			OldestPending: begin.Add(5 * time.Minute)},
		{Topic: "b", LastSequence: 3, Appended: 1, Pending: 1, OldestPending: begin.Add(2 * time.Minute)},
	}}, stats)
}

func TestStatsComeThoughReceiptsCannotBeWritten(t *testing.T) {
	o, _ := openListed(t)
	require.NoError(t, o.Settle(ctx, Receipt{Topic: "b", Through: 3}))
	o.fail(errors.New("injected"))
	stats, err := o.Stats(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 1, stats.Topics[1].Pending)
	_, err = o.Verify(ctx)
	require.NoError(t, err)
}

func TestVerifyEndsWithItsContext(t *testing.T) {
	o, _ := openListed(t)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err := o.Verify(ended)
	require.ErrorIs(t, err, context.Canceled)
}

func TestThereIsNothingBehindTheHighestSequenceThatCanBe(t *testing.T) {
	o := openTemp(t, Options{})
	add(t, o, events("a", "1", "2")...)
	for _, state := range []State{"", Pending, Parked} {
		list, err := o.List(ctx, Filter{State: state, After: math.MaxUint64})
		require.NoError(t, err)
		require.Empty(t, list)
	}
	entries, err := o.Read(ctx, Range{Topic: "a", After: math.MaxUint64, Events: 9, Bytes: 1000})
	require.NoError(t, err)
	require.Empty(t, entries)
}
