package redistest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAReplicaHasWhatItsMasterHas(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	master := Start(t, Options{})
	require.NoError(t, master.Client().Set(ctx, "k", "before", 0).Err())
	replica := Start(t, Options{ReplicaOf: master})
	replica.WaitInSync()
	require.Equal(t, "before", replica.Client().Get(ctx, "k").Val())
	require.True(t, master.IsMaster())
	require.False(t, replica.IsMaster())

	client := master.Client()
	for range 100 {
		require.NoError(t, client.Incr(ctx, "n").Err())
	}
	replica.WaitInSync()
	require.Equal(t, "100", replica.Client().Get(ctx, "n").Val())

	sub := Subscribe(t, replica.Addr(), SubscriberOptions{Channels: []string{"ch"}})
	sub.WaitSubscribed(1)
	require.Zero(t, client.Publish(ctx, "ch", "over the replica").Val(), "a master does not count its replicas' subscribers")
	sub.WaitFor(1)
}
