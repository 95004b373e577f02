package changes_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

func TestAResyncRepeatsTheWholeList(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{Source: "test"})
	list := parse(t, string(fogistest.List(1, 15, noon)))
	_, err := r.Cycle(ctx, func(context.Context) ([]schema.Match, error) { return list, nil })
	require.NoError(t, err)
	before, err := r.State(ctx)
	require.NoError(t, err)

	done, err := r.Resync(ctx, changes.Operator{Actor: "me", Reason: "they lost it"})
	require.NoError(t, err)
	require.Equal(t, changes.Resynced{Matches: 15, Sequences: []uint64{4}}, done)
	audit, err := o.Audit(ctx, 0)
	require.NoError(t, err)
	require.Len(t, audit, 1)
	require.Equal(t, outbox.AuditEntry{Time: audit[0].Time, Actor: "me", Action: "resync", Count: 15, Reason: "they lost it"}, audit[0])
	require.NotZero(t, audit[0].Time)
	all := messages(t, o)
	require.Len(t, all, 4)
	update, err := all[3].MatchUpdate()
	require.NoError(t, err)
	require.ElementsMatch(t, raws(list), raws(update.Matches))
	require.Empty(t, update.Changes)
	require.Equal(t, map[string]any{"resync": json.RawMessage("true")}, update.Metadata)
	require.Equal(t, "test", update.Source)
	require.Equal(t, uint64(1), update.Cycle)
	var wire struct {
		Payload struct {
			HighPriority bool `json:"high_priority"`
			Metadata     struct {
				HasChanges bool `json:"has_changes"`
			} `json:"metadata"`
		} `json:"payload"`
	}
	require.NoError(t, json.Unmarshal(all[3].Bytes(), &wire))
	require.True(t, wire.Payload.Metadata.HasChanges, "subscribers skip an update without")
	require.False(t, wire.Payload.HighPriority)

	after, err := r.State(ctx)
	require.NoError(t, err)
	require.Equal(t, raws(before), raws(after))
	s, err := r.Record(ctx, list, changes.Metadata{})
	require.NoError(t, err)
	require.False(t, s.Changed())
}

func TestAResyncOfWhatThereIs(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts changes.Options
		list string // "" imports nothing
		want changes.Resynced
		err  error
	}{
		{"nothing was ever recorded", changes.Options{}, "", changes.Resynced{}, changes.ErrNoState},
		{"an imported list", changes.Options{}, `[{"matchid":1}]`, changes.Resynced{Matches: 1, Sequences: []uint64{1}}, nil},
		{"an empty list", changes.Options{}, `[]`, changes.Resynced{Sequences: []uint64{1}}, nil},
		{"without events", changes.Options{EventsOff: true}, `[{"matchid":1}]`, changes.Resynced{Matches: 1}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, r := open(t, outbox.Options{}, tt.opts)
			if tt.list != "" {
				_, err := r.Import(ctx, parse(t, tt.list))
				require.NoError(t, err)
			}
			plan, err := r.PreviewResync(ctx)
			require.ErrorIs(t, err, tt.err)
			require.Equal(t, tt.want.Matches, plan.Matches)
			require.Empty(t, plan.Sequences)
			done, err := r.Resync(ctx, changes.Operator{Actor: "me", Reason: "they lost it"})
			require.ErrorIs(t, err, tt.err)
			require.Equal(t, tt.want, done)
		})
	}
}

func TestADamagedListIsNotResynced(t *testing.T) {
	o, r := open(t, outbox.Options{}, changes.Options{})
	_, err := r.Import(ctx, parse(t, `[{"matchid":1}]`))
	require.NoError(t, err)
	require.NoError(t, o.Update(ctx, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("matchrelay/state")).Put([]byte("1"), []byte("x"))
	}))
	_, err = r.Resync(ctx, changes.Operator{Actor: "me", Reason: "they lost it"})
	require.ErrorIs(t, err, changes.ErrState)
	require.Empty(t, messages(t, o))
}

func TestAListThatDoesNotFitAnEventIsNotResynced(t *testing.T) {
	o, r := open(t, outbox.Options{MaxEventBytes: 100}, changes.Options{})
	_, err := r.Import(ctx, parse(t, `[{"matchid":1}]`))
	require.NoError(t, err)
	_, err = r.Resync(ctx, changes.Operator{Actor: "me", Reason: "they lost it"})
	require.ErrorIs(t, err, outbox.ErrTooLarge)
	require.ErrorContains(t, err, "resync: ")
	require.Empty(t, messages(t, o))
}
