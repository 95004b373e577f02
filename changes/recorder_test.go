package changes_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

var (
	ctx  = context.Background()
	noon = instant("2025-05-06T12:00:00Z")
)

// open makes an outbox and a recorder on it whose clock stands at noon.
func open(t testing.TB, limits outbox.Options, opts changes.Options) (*outbox.Outbox, *changes.Recorder) {
	t.Helper()
	o, err := outbox.Open(filepath.Join(t.TempDir(), "matchrelay.db"), limits)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, o.Close()) })
	if opts.Now == nil {
		opts.Now = func() time.Time { return noon }
	}
	r, err := changes.NewRecorder(o, opts)
	require.NoError(t, err)
	return o, r
}

// messages are all events in the outbox, in order.
func messages(t testing.TB, o *outbox.Outbox) (list []schema.Message) {
	t.Helper()
	for sequence := uint64(1); ; sequence++ {
		entry, _, err := o.Get(ctx, sequence)
		if errors.Is(err, outbox.ErrNotFound) {
			return list
		}
		require.NoError(t, err)
		m, err := schema.Decode(entry.Payload)
		require.NoError(t, err)
		require.NoError(t, m.Validate())
		require.Equal(t, m.ID, entry.MessageID)
		require.Equal(t, m.Type, entry.Topic)
		require.Equal(t, m.Type == schema.TypeMatchUpdates, entry.Snapshot)
		list = append(list, m)
	}
}

func raws(matches []schema.Match) (list []string) {
	for _, m := range matches {
		list = append(list, string(m.Raw()))
	}
	return list
}

func TestAListIsStoredTogetherWithItsEvent(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{Source: "test"})
	feed := fogistest.New(1, 15, noon)
	list := parse(t, string(feed.JSON()))

	s, err := r.Record(ctx, list, changes.Metadata{Extra: map[string]any{"trigger": "manual"}})
	require.NoError(t, err)
	require.Len(t, s.New, 15)
	require.Equal(t, []uint64{1}, s.Sequences)

	s, err = r.Record(ctx, list, changes.Metadata{})
	require.NoError(t, err)
	require.False(t, s.Changed())
	require.Equal(t, 15, s.Matches)

	feed.Apply(fogistest.NewKickOff)
	feed.Apply(fogistest.RemovedMatch)
	newer := parse(t, string(feed.JSON()))
	s, err = r.Record(ctx, newer, changes.Metadata{})
	require.NoError(t, err)
	require.Equal(t, []uint64{2}, s.Sequences)
	require.Len(t, s.Removed, 1)

	events := messages(t, o)
	require.Len(t, events, 2)
	first, err := events[0].MatchUpdate()
	require.NoError(t, err)
	require.Equal(t, raws(list), raws(first.Matches))
	require.Equal(t, map[string]any{"trigger": json.RawMessage(`"manual"`)}, first.Metadata)
	require.Equal(t, "test", first.Source)
	second, err := events[1].MatchUpdate()
	require.NoError(t, err)
	require.Equal(t, raws(newer), raws(second.Matches))
	require.Equal(t, s.Removed, second.Removed)
	require.Equal(t, noon, second.Time)

	state, err := r.State(ctx)
	require.NoError(t, err)
	require.ElementsMatch(t, raws(newer), raws(state))
}

func TestTheStateEqualsTheNewestUpdateAlsoWhenOnlyTheFormatChanges(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{})
	record := func(list string) {
		_, err := r.Record(ctx, parse(t, list), changes.Metadata{})
		require.NoError(t, err)
		all := messages(t, o)
		newest, err := all[len(all)-1].MatchUpdate()
		require.NoError(t, err)
		state, err := r.State(ctx)
		require.NoError(t, err)
		require.ElementsMatch(t, raws(newest.Matches), raws(state))
	}
	record(`[{"matchid":1,"x":1},{"matchid":2}]`)
	record(`[{"matchid":"2"},{"x":1, "matchid":1}]`)
	require.Len(t, messages(t, o), 1)
	record(`[{"matchid":"2"},{"x":2, "matchid":1}]`)
	require.Len(t, messages(t, o), 2)
}

func TestAnEmptyListIsRefusedUnlessItIsAllowed(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{})
	s, err := r.Record(ctx, nil, changes.Metadata{})
	require.NoError(t, err, "nothing is stored yet")
	require.False(t, s.Changed())

	_, err = r.Record(ctx, parse(t, `[{"matchid":1}]`), changes.Metadata{})
	require.NoError(t, err)
	_, err = r.Record(ctx, nil, changes.Metadata{})
	require.ErrorIs(t, err, changes.ErrEmptyList)
	_, err = r.Preview(ctx, nil, changes.Metadata{})
	require.ErrorIs(t, err, changes.ErrEmptyList)
	require.Len(t, messages(t, o), 1)

	s, err = r.Record(ctx, nil, changes.Metadata{AllowEmpty: true})
	require.NoError(t, err)
	require.Equal(t, []string{"1"}, s.Removed)
	state, err := r.State(ctx)
	require.NoError(t, err)
	require.Empty(t, state)
}

func TestAPreviewWritesNothing(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{})
	s, err := r.Preview(ctx, parse(t, `[{"matchid":1}]`), changes.Metadata{})
	require.NoError(t, err)
	require.Equal(t, []string{"1"}, s.New)
	require.Empty(t, messages(t, o))
	state, err := r.State(ctx)
	require.NoError(t, err)
	require.Empty(t, state)
}

func TestWithEventsOffOnlyTheStateIsKept(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{EventsOff: true})
	s, err := r.Cycle(ctx, fetch(parse(t, `[{"matchid":1}]`)))
	require.NoError(t, err)
	require.Equal(t, []string{"1"}, s.New)
	require.Empty(t, s.Sequences)
	require.NoError(t, r.Alert(ctx, schema.Alert{Type: "test", Severity: schema.SeverityInfo, Message: "x"}))
	require.Empty(t, messages(t, o))
	state, err := r.State(ctx)
	require.NoError(t, err)
	require.Len(t, state, 1)
}

func TestRecordTxCommitsWithTheCallersOwnState(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{})
	list := parse(t, `[{"matchid":1}]`)
	mine := []byte("mine")
	save := func(after error) error {
		return o.Update(ctx, func(tx *bbolt.Tx) error {
			if _, err := tx.CreateBucketIfNotExists(mine); err != nil {
				return err
			}
			if _, err := r.RecordTx(tx, list, changes.Metadata{}); err != nil {
				return err
			}
			return after
		})
	}
	own := func() (there bool) {
		require.NoError(t, o.View(func(tx *bbolt.Tx) error { there = tx.Bucket(mine) != nil; return nil }))
		return there
	}
	regret := errors.New("regret")
	require.ErrorIs(t, save(regret), regret)
	require.False(t, own())
	require.Empty(t, messages(t, o))

	require.NoError(t, save(nil))
	require.True(t, own())
	require.Len(t, messages(t, o), 1)

	list = nil
	require.ErrorIs(t, save(nil), changes.ErrEmptyList)
}

func TestAListThatDoesNotFitLeavesEverythingAsItWas(t *testing.T) {
	o, r := open(t, outbox.Options{MaxEventBytes: 20_000}, changes.Options{})
	_, err := r.Record(ctx, parse(t, string(fogistest.List(1, 10, noon))), changes.Metadata{})
	require.ErrorIs(t, err, outbox.ErrTooLarge)
	require.ErrorContains(t, err, "record 10 matches: ")
	_, err = r.Record(ctx, parse(t, `[{"matchid":1}]`), changes.Metadata{Extra: map[string]any{"total_matches": 5}})
	require.ErrorIs(t, err, schema.ErrMessage)
	require.Empty(t, messages(t, o))
	state, err := r.State(ctx)
	require.NoError(t, err)
	require.Empty(t, state)
}

func TestARecorderNeedsAnOutbox(t *testing.T) {
	_, err := changes.NewRecorder(nil, changes.Options{})
	require.ErrorIs(t, err, outbox.ErrInvalid)
}

func TestARecorderWithoutAClockUsesTheTimeOfDay(t *testing.T) {
	o, _ := open(t, outbox.Options{}, changes.Options{})
	r, err := changes.NewRecorder(o, changes.Options{})
	require.NoError(t, err)
	before := time.Now().Truncate(time.Millisecond)
	require.NoError(t, r.Alert(ctx, schema.Alert{Type: "test", Severity: schema.SeverityInfo, Message: "x"}))
	require.WithinRange(t, messages(t, o)[0].Timestamp, before, time.Now())
}

func TestAnAlertThatIsWrongIsNotRecorded(t *testing.T) {
	_, r := open(t, outbox.Options{}, changes.Options{})
	require.ErrorIs(t, r.Alert(ctx, schema.Alert{Type: "Bad"}), schema.ErrMessage)
}

func TestTheDayOfAMatchIsThatOfTheGivenLocation(t *testing.T) {
	list := parse(t, `[{"matchid":1,"speldatum":"2025-05-07"}]`)
	for location, want := range map[*time.Location]schema.Priority{nil: schema.High, time.FixedZone("far east", 14*3600): schema.Critical} {
		_, r := open(t, outbox.Options{}, changes.Options{Location: location})
		s, err := r.Preview(ctx, list, changes.Metadata{})
		require.NoError(t, err)
		require.Equal(t, want, s.Changes[0].Priority)
	}
}

// Each row spoils the stored record of match 2, whose format is plain, or of
// match 1, which is compressed.
func TestADamagedStateIsAnErrorAndNeverAllNew(t *testing.T) {
	long := `{"matchid":1,"x":"` + string(bytes.Repeat([]byte("secret "), 50)) + `"}`
	for name, c := range map[string]struct {
		id    string
		spoil func(record []byte) []byte
		want  string
	}{
		"no record":         {"2", func([]byte) []byte { return nil }, "match 2: the record is cut short"},
		"a cut record":      {"1", func(r []byte) []byte { return r[:20] }, "match 1: the record is cut short"},
		"another format":    {"2", func(r []byte) []byte { r[0] = 9; return r }, "match 2: unknown record format 9, perhaps of a newer version"},
		"a flipped hash":    {"2", func(r []byte) []byte { r[5] ^= 1; return r }, "match 2: its bytes do not have its hash"},
		"a flipped byte":    {"2", func(r []byte) []byte { r[len(r)-3] ^= 1; return r }, "match 2: its bytes do not have its hash"},
		"a cut compression": {"1", func(r []byte) []byte { return r[:len(r)-3] }, "match 1: it cannot be decompressed"},
	} {
		t.Run(name, func(t *testing.T) {
			o, r := open(t, outbox.Options{}, changes.Options{})
			_, err := r.Record(ctx, parse(t, `[`+long+`,{"matchid":2}]`), changes.Metadata{})
			require.NoError(t, err)
			require.NoError(t, o.Update(ctx, func(tx *bbolt.Tx) error {
				b := tx.Bucket([]byte("matchrelay/state"))
				return b.Put([]byte(c.id), c.spoil(bytes.Clone(b.Get([]byte(c.id)))))
			}))
			_, err = r.State(ctx)
			require.ErrorIs(t, err, changes.ErrState)
			require.ErrorContains(t, err, c.want+"; restore a backup")
			require.NotContains(t, err.Error(), "secret")
			_, err = r.Record(ctx, parse(t, `[{"matchid":1},{"matchid":2,"y":1}]`), changes.Metadata{})
			require.ErrorIs(t, err, changes.ErrState)
			require.Len(t, messages(t, o), 1)
		})
	}
}

func TestAStoredRecordThatIsNoMatchIsAnError(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{})
	require.NoError(t, o.Update(ctx, func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("matchrelay/state"))
		if err != nil {
			return err
		}
		h := sha256.Sum256([]byte(`{}`))
		return b.Put([]byte("1"), append(append([]byte{1}, h[:]...), `{}`...))
	}))
	_, err := r.State(ctx)
	require.ErrorIs(t, err, changes.ErrState)
	require.ErrorIs(t, err, schema.ErrMatchList)
}

func TestRecordTxNeedsAWriteTransaction(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{})
	err := o.View(func(tx *bbolt.Tx) error {
		_, err := r.RecordTx(tx, parse(t, `[{"matchid":1}]`), changes.Metadata{})
		return err
	})
	require.ErrorContains(t, err, "record 1 matches: store the match list: ")
}

func TestALogLineHoldsCountsOnly(t *testing.T) {
	var log bytes.Buffer
	_, r := open(t, outbox.Options{}, changes.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	_, err := r.Record(ctx, parse(t, `[{"matchid":1,"lag1namn":"secret"}]`), changes.Metadata{})
	require.NoError(t, err)
	require.Contains(t, log.String(), "new=1")
	require.NotContains(t, log.String(), "secret")
}

func fetch(matches []schema.Match) func(context.Context) ([]schema.Match, error) {
	return func(context.Context) ([]schema.Match, error) { return matches, nil }
}
