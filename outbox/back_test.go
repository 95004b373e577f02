package outbox

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBack_CountsOnlyWhatReadReturns(t *testing.T) {
	o := openTemp(t, Options{})
	add(t, o, events("a", "1", "2", "3", "4", "5")...)
	require.NoError(t, o.Settle(ctx, Receipt{Topic: "a", Through: 2}))
	require.NoError(t, o.Flush(ctx))
	require.NoError(t, o.Park(ctx, "a", 3, Failure{Class: "poison"}))
	_, err := o.Discard(ctx, []uint64{4}, DiscardOptions{Reason: "test"})
	require.NoError(t, err)

	after, err := o.Back(ctx, "a", 5, 2)
	require.NoError(t, err)
	entries, err := o.Read(ctx, Range{Topic: "a", After: after, Events: 10, Bytes: 1 << 20})
	require.NoError(t, err)
	require.Len(t, entries, 2)
	require.Equal(t, uint64(2), entries[0].Sequence)
}
