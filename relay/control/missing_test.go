package control

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// missing are the sequences that Missing tells of.
func (g *rig) missing(gap relay.Gap) (sequences []uint64, err error) {
	err = g.client.Missing(g.t.Context(), gap, func(e outbox.Entry) error {
		sequences = append(sequences, e.Sequence)
		require.Equal(g.t, secret, string(e.Payload))
		return nil
	})
	return sequences, err
}

func (g *rig) origin() string {
	g.t.Helper()
	stats, err := g.box.Stats(g.t.Context())
	require.NoError(g.t, err)
	return stats.Origin
}

func TestMissing_TellsOfWhatRedisWasGiven(t *testing.T) {
	g := startFull(t)
	for want, gap := range map[[2]uint64]relay.Gap{
		{2, 3}: {Topic: "match_updates", After: 1, Last: 3, Before: 4},
		{2, 2}: {Topic: "match_updates", After: 1, Last: 2, Before: 3},
		{5, 5}: {Topic: "system_alert", After: 3, Last: 5, Before: 6}, // #4 is parked; #5 is not settled yet
	} {
		gap.Origin = g.origin()
		got, err := g.missing(gap)
		require.NoError(t, err)
		require.Equal(t, want, [2]uint64{got[0], got[len(got)-1]})
		require.Len(t, got, int(want[1]-want[0])+1)
	}
	enough := errors.New("enough")
	err := g.client.Missing(t.Context(), relay.Gap{Topic: "match_updates", Origin: g.origin(), Last: 3}, func(outbox.Entry) error { return enough })
	require.ErrorIs(t, err, enough)
}

func TestMissing_OfAnotherFileIsRefused(t *testing.T) {
	g := startFull(t)
	gap := relay.Gap{Topic: "match_updates", Origin: g.origin(), Last: 3, Before: 4}
	_, err := g.box.NewOrigin(t.Context(), gap.Origin)
	require.NoError(t, err)
	got, err := g.missing(gap)
	require.ErrorIs(t, err, outbox.ErrInvalid)
	require.ErrorContains(t, err, "fetch the current state")
	require.Empty(t, got)
}

func TestMissing_SaysWhatRetentionHasRemoved(t *testing.T) {
	box, err := outbox.Open(filepath.Join(folder(t), "test.db"), outbox.Options{Retention: time.Nanosecond})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, box.Close()) })
	fill(t, box)
	_, err = box.Prune(t.Context())
	require.NoError(t, err)
	g := start(t, box, nil, patient)
	gap := relay.Gap{Topic: "match_updates", Origin: g.origin(), After: 1, Last: 3, Before: 4}
	got, err := g.missing(gap)
	require.ErrorIs(t, err, outbox.ErrNotFound)
	require.ErrorContains(t, err, "OUTBOX_RETENTION")
	require.Empty(t, got, "#3, the newest, is still there")
	gap.After = 2
	got, err = g.missing(gap)
	require.NoError(t, err)
	require.Equal(t, []uint64{3}, got)
}
