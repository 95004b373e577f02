package redistest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSentinelsPromoteAReplica(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	master := Start(t, Options{})
	replica := Start(t, Options{ReplicaOf: master})
	replica.WaitInSync()
	sentinels := StartSentinels(t, master, 3)
	require.Len(t, sentinels.Addrs(), 3)
	require.Equal(t, master.Addr(), sentinels.Master())
	sub := Subscribe(t, "", SubscriberOptions{Channels: []string{"ch"}, Resolve: sentinels.Master})
	sub.WaitSubscribed(1)
	require.EqualValues(t, 1, master.Client().Publish(ctx, "ch", "before").Val())
	sub.WaitFor(1)

	sentinels.Servers[0].Kill() // two are enough
	master.Kill()
	require.Equal(t, replica.Addr(), sentinels.WaitFailover(master.Addr()))
	require.True(t, replica.IsMaster())
	sub.WaitSubscribed(2)
	require.EqualValues(t, 1, replica.Client().Publish(ctx, "ch", "after").Val())
	require.Equal(t, []string{"before", "after"}, payloads(sub.WaitFor(2)))

	sentinels.Servers[1].Kill()
	require.Empty(t, sentinels.Master(), "one of three is no majority")
}
