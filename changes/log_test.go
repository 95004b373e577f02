package changes_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
)

// kept is a recorder and an outbox on one clock, which moves on by an hour after each list.
type kept struct {
	t   *testing.T
	box *outbox.Outbox
	r   *changes.Recorder
	now *time.Time
}

func keep(t *testing.T, limits outbox.Options) kept {
	now := noon
	limits.Now = func() time.Time { return now }
	o, r := open(t, limits, changes.Options{Now: limits.Now})
	return kept{t, o, r, &now}
}

func (k kept) record(list string) {
	k.t.Helper()
	_, err := k.r.Record(ctx, parse(k.t, list), changes.Metadata{})
	require.NoError(k.t, err)
	*k.now = k.now.Add(time.Hour)
}

func (k kept) settle(through uint64, unheard ...uint64) {
	k.t.Helper()
	p, err := k.box.Position(ctx, schema.TypeMatchUpdates)
	require.NoError(k.t, err)
	require.NoError(k.t, k.box.Settle(ctx, outbox.Receipt{Topic: schema.TypeMatchUpdates, Through: through, Unheard: unheard, Origin: p.Origin}))
	require.NoError(k.t, k.box.Flush(ctx))
}

const one, two, three = `[{"matchid":1}]`, `[{"matchid":1},{"matchid":2}]`, `[{"matchid":1,"avsparkstid":"17:00"},{"matchid":2}]`

func TestTheListOfAMomentIsRebuiltFromTheLog(t *testing.T) {
	k := keep(t, outbox.Options{})
	_, err := changes.At(ctx, k.box, noon)
	require.ErrorIs(t, err, outbox.ErrNotFound)
	require.ErrorContains(t, err, "the log holds no match update")

	for _, list := range []string{one, two, three} {
		k.record(list)
	}
	for _, tt := range []struct {
		name     string
		at       time.Time
		sequence uint64 // 0 is not found
		list     string
	}{
		{"before the first", noon.Add(-time.Millisecond), 0, ""},
		{"at the first", noon, 1, one},
		{"just before the second", noon.Add(time.Hour - time.Millisecond), 1, one},
		{"at the second", noon.Add(time.Hour), 2, two},
		{"after the last", noon.Add(100 * time.Hour), 3, three},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := changes.At(ctx, k.box, tt.at)
			if tt.sequence == 0 {
				require.ErrorIs(t, err, outbox.ErrNotFound)
				require.ErrorContains(t, err, "the oldest list in the log is of 2025-05-06T12:00:00.000Z")
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.sequence, s.Sequence)
			require.Equal(t, raws(parse(t, tt.list)), raws(s.Matches))
			require.Equal(t, noon.Add(time.Duration(tt.sequence-1)*time.Hour), s.Time)
		})
	}
}

func TestAReplayDoesNotTurnTheListBack(t *testing.T) {
	k := keep(t, outbox.Options{Retention: 4 * time.Hour})
	k.record(one)
	k.record(two)
	k.settle(2, 1)
	result, err := k.box.Replay(ctx, []uint64{1}, outbox.ReplayOptions{AllowStale: true})
	require.NoError(t, err)
	require.Equal(t, []uint64{3}, result.Sequences)

	s, err := changes.At(ctx, k.box, *k.now)
	require.NoError(t, err)
	require.Equal(t, uint64(2), s.Sequence)
	history, err := changes.History(ctx, k.box, "1")
	require.NoError(t, err)
	require.Len(t, history, 1, "told twice, happened once")
	require.Equal(t, uint64(1), history[0].Sequence)

	// Also when the original is gone, and when the replay was pruned after the newest list, which stays.
	*k.now = noon.Add(4*time.Hour + time.Minute)
	_, err = k.box.Prune(ctx)
	require.NoError(t, err)
	_, _, err = k.box.Get(ctx, 1)
	require.ErrorIs(t, err, outbox.ErrNotFound)
	s, err = changes.At(ctx, k.box, noon)
	require.NoError(t, err)
	require.Equal(t, raws(parse(t, one)), raws(s.Matches))
	require.Equal(t, noon, s.Time)
	k.settle(3)
	*k.now = noon.Add(20 * time.Hour)
	_, err = k.box.Prune(ctx)
	require.NoError(t, err)
	s, err = changes.At(ctx, k.box, *k.now)
	require.NoError(t, err)
	require.Equal(t, uint64(2), s.Sequence)
	_, err = changes.At(ctx, k.box, noon)
	require.ErrorIs(t, err, outbox.ErrNotFound)
}

func TestAListBeforeAGapIsNoAnswer(t *testing.T) {
	k := keep(t, outbox.Options{Retention: 30 * time.Minute})
	k.record(one)
	k.record(two)
	k.record(three)
	require.NoError(t, k.box.Park(ctx, schema.TypeMatchUpdates, 1, outbox.Failure{Attempts: 1, First: noon, Last: noon, Class: "poison", Text: "odd"}))
	k.settle(3)
	_, err := k.box.Prune(ctx)
	require.NoError(t, err)
	left, err := k.box.List(ctx, outbox.Filter{})
	require.NoError(t, err)
	require.Len(t, left, 2, "the parked one and the newest")

	_, err = changes.At(ctx, k.box, noon.Add(90*time.Minute))
	require.ErrorIs(t, err, outbox.ErrNotFound)
	require.ErrorContains(t, err, "is of 2025-05-06T14:00:00.000Z")
	s, err := changes.At(ctx, k.box, *k.now)
	require.NoError(t, err)
	require.Equal(t, uint64(3), s.Sequence)
}

func TestTheHistoryOfAMatch(t *testing.T) {
	k := keep(t, outbox.Options{})
	k.record(one)
	k.record(two)
	k.record(three)
	k.record(`[{"matchid":2}]`)
	history, err := changes.History(ctx, k.box, "1")
	require.NoError(t, err)
	var told []string
	for _, c := range history {
		told = append(told, string(c.Category))
	}
	require.Equal(t, []string{"new_assignment", "time_change", "match_removed"}, told)
	require.Equal(t, uint64(3), history[1].Sequence)
	require.Equal(t, noon.Add(2*time.Hour), history[1].Time)
	require.Equal(t, `"17:00"`, string(history[1].Current))

	history, err = changes.History(ctx, k.box, "9")
	require.NoError(t, err)
	require.Empty(t, history)
}

func TestTheHistoryGoesOnPastWhatIsNoMatchUpdate(t *testing.T) {
	k := keep(t, outbox.Options{})
	k.record(one)
	for i, payload := range []string{`{"secret":"070-1740605"}`, `{"message_id":"1","timestamp":"2025-09-21T10:30:00Z","source":"s","version":"1.0","type":"match_updates","payload":{"metadata":"070-1740605","detailed_changes":"070-1740605"}}`,
		`{"message_id":"2","timestamp":"2025-09-21T10:30:00Z","source":"s","version":"1.0","type":"system_alert","payload":{}}`} {
		_, err := k.box.Add(ctx, outbox.Event{Topic: schema.TypeMatchUpdates, MessageID: string(rune('a' + i)), Payload: []byte(payload)})
		require.NoError(t, err)
	}
	history, err := changes.History(ctx, k.box, "1")
	require.ErrorIs(t, err, schema.ErrMessage)
	require.ErrorContains(t, err, "match_updates #2: ")
	require.ErrorContains(t, err, "match_updates #3: ")
	require.ErrorContains(t, err, "match_updates #4: ")
	require.NotContains(t, err.Error(), "070")
	require.Len(t, history, 1)
	_, err = changes.At(ctx, k.box, *k.now)
	require.ErrorIs(t, err, schema.ErrMessage)
}

func TestAClosedOutboxHasNoPast(t *testing.T) {
	k := keep(t, outbox.Options{})
	require.NoError(t, k.box.Close())
	_, err := changes.At(ctx, k.box, noon)
	require.ErrorIs(t, err, outbox.ErrClosed)
	_, err = changes.History(ctx, k.box, "1")
	require.ErrorIs(t, err, outbox.ErrClosed)
}

func TestWhatIsNotKnownMayBePersonal(t *testing.T) {
	for _, field := range []string{"matchid", "tid", "avsparkstid", "speldatum", "lag1namn", "anlaggningnamn", "installd", "matchlag1mal"} {
		require.False(t, changes.Personal(field), field)
	}
	for _, field := range []string{"domaruppdraglista", "kontaktpersoner", "telefon", "something new", ""} {
		require.True(t, changes.Personal(field), field)
	}
}
