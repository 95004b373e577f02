package redistest

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAClusterMovesSlotsAndPromotesReplicas(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := StartCluster(t, 3, 1, Options{Persistence: AOF})
	require.Len(t, c.Addrs(), 6)
	require.Len(t, c.Servers, 6)
	client := c.Client()
	for _, key := range []string{"", "k", "{ch}:stream", "{}x", "a{b}{c}", "{x", "å"} {
		require.EqualValues(t, client.ClusterKeySlot(ctx, key).Val(), SlotOf(key), "%q", key)
	}

	key := func(i int) string { return fmt.Sprintf("{ch}:%d", i) }
	for i := range 25 {
		require.NoError(t, client.Set(ctx, key(i), i, 0).Err())
	}
	old, replica := c.MasterOf("{ch}"), c.ReplicaOf("{ch}")
	require.True(t, old.IsMaster())
	require.False(t, replica.IsMaster())
	require.Equal(t, old.Addr(), c.AddrOf("{ch}"))
	require.Equal(t, c.shards[old], c.shards[replica])

	t.Log("half-way through a migration, keys are on both sides")
	target := c.Servers[(c.shards[old]+1)%3]
	m := c.BeginMigration(SlotOf("ch"), target)
	require.True(t, m.MoveKeys(10))
	at := func(s *Server) any { return c.do(s, "CLUSTER", "COUNTKEYSINSLOT", fmt.Sprint(SlotOf("ch"))) }
	require.Equal(t, 15, at(old))
	require.Equal(t, 10, at(target))
	_, err := command(old.Addr(), Patience, "GET", "{ch}:new")
	require.ErrorContains(t, err, "ASK ")
	for i := range 25 {
		require.Equal(t, fmt.Sprint(i), client.Get(ctx, key(i)).Val())
	}
	require.Same(t, old, c.MasterOf("{ch}"))
	for m.MoveKeys(10) {
	}
	m.Finish()
	require.Same(t, target, c.MasterOf("{ch}"))
	require.Equal(t, 0, at(old))
	require.Equal(t, 25, at(target))
	c.MigrateSlot(SlotOf("ch"), old)
	require.Same(t, old, c.MasterOf("{ch}"))
	require.Equal(t, 25, at(old))
	c.WaitHealthy()

	t.Log("the master dies, and its replica takes over")
	sub := Subscribe(t, "", SubscriberOptions{Channels: []string{"ch"}, Resolve: func() string { return c.AddrOf("ch") }})
	sub.WaitSubscribed(1)
	waitUntil(t, "a replica that has all keys", func() string {
		if at(replica) != 25 {
			return "it is behind"
		}
		return ""
	})
	old.Kill()
	require.Same(t, replica, c.WaitPromoted(old))
	c.WaitHealthy()
	require.Same(t, replica, c.MasterOf("{ch}"))
	require.Nil(t, c.ReplicaOf("{ch}"))
	sub.WaitSubscribed(2)
	value, err := replica.Client().Get(ctx, key(24)).Result()
	require.NoError(t, err)
	require.Equal(t, "24", value)
	require.NoError(t, c.Servers[(c.shards[old]+1)%3].Client().Publish(ctx, "ch", "over the cluster").Err())
	sub.WaitFor(1)

	t.Log("it comes back as a replica, freezes the other, and is the master again")
	old.Start()
	c.WaitHealthy()
	require.Same(t, old, c.ReplicaOf("{ch}"))
	replica.Freeze()
	require.Same(t, old, c.WaitPromoted(replica))
	require.Same(t, old, c.MasterOf("{ch}"))
	replica.Thaw()
	c.WaitHealthy()
	require.Same(t, old, c.MasterOf("{ch}"))
	require.Same(t, replica, c.ReplicaOf("{ch}"))
}

func TestNodesAsTheyAreWritten(t *testing.T) {
	nodes := parseNodes("abc 127.0.0.1:15000@25000 myself,master - 0 1700000000000 7 connected 0-5460 5462 [9300-<-def]\n" +
		"def 127.0.0.1:15001@25001,host slave,fail? abc 0 1700000000000 7 disconnected\n" +
		"nonsense\n")
	require.Equal(t, []node{
		{id: "abc", addr: "127.0.0.1:15000", master: "-", flags: []string{"myself", "master"}, epoch: 7, slots: [][2]int{{0, 5460}, {5462, 5462}}},
		{id: "def", addr: "127.0.0.1:15001", master: "abc", flags: []string{"slave", "fail?"}, epoch: 7},
	}, nodes)
	require.True(t, nodes[0].has(5462))
	require.False(t, nodes[0].has(5461))
	require.False(t, nodes[0].has(9300))
	require.True(t, nodes[1].is("slave"))
	require.False(t, nodes[1].is("fail"))
}
