package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

// These share one Cluster, one after the other; each has a fresh outbox.
func TestInACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, 1, redistest.Options{})
	for _, c := range []struct {
		name string
		test func(t *testing.T, cluster *redistest.Cluster)
	}{
		{"subscribers count at whatever node they are", subscribersCountAnywhere},
		{"a node that hangs does not hold anything up for long", aNodeHangs},
		{"an event is settled only when the replica of its own master has it", theReplicaHasIt},
		{"the least rights are enough", leastRights},
		{"scripts that nodes have forgotten are loaded again", scriptsAreLoaded},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.test(t, cluster)
			cluster.WaitHealthy()
		})
	}
}

func subscribersCountAnywhere(t *testing.T, cluster *redistest.Cluster) {
	r := newClusterRig(t, cluster)
	r.add(updates, 1)
	opts := relayOptions()
	r.start(opts, relay.ClientOptions{})
	eventually(t, "it is published to nobody", func() bool { return r.topic(updates).Unheard == 1 })
	r.halt()

	opts.MinReceivers = map[string]int{updates: 1}
	r.start(opts, relay.ClientOptions{})
	ctx := context.Background()
	for _, at := range []struct {
		name   string
		server *redistest.Server
	}{{"another master", r.others(updates)[0]}, {"a replica", r.replica(updates)}, {"the master", r.master(updates)}} {
		r.add(updates, 3)
		r.state(updates, relay.Held)
		require.Equal(t, uint64(3), r.topic(updates).Pending)
		sub := redistest.Subscribe(t, at.server.Addr(), redistest.SubscriberOptions{Channels: []string{channels[updates]}})
		sub.WaitFor(3)
		waitEmpty(t, r.box)
		r.receivers(updates, 1)
		require.Equal(t, uint64(1), r.topic(updates).Unheard, at.name)
		sub.Close()
		eventually(t, "nobody is subscribed", func() bool {
			return at.server.Client().PubSubNumSub(ctx, channels[updates]).Val()[channels[updates]] == 0
		})
	}
}

func aNodeHangs(t *testing.T, cluster *redistest.Cluster) {
	ctx := context.Background()
	setTimeout := func(milliseconds string) { // how soon the others notice that a node hangs, and name it no more
		for _, s := range cluster.Servers {
			require.NoError(t, s.Client().ConfigSet(ctx, "cluster-node-timeout", milliseconds).Err())
		}
	}
	usual := cluster.Servers[0].Client().ConfigGet(ctx, "cluster-node-timeout").Val()["cluster-node-timeout"]
	setTimeout("600000")
	r := newClusterRig(t, cluster)
	opts := relayOptions()
	opts.MinReceivers = map[string]int{updates: 1}
	r.start(opts, relay.ClientOptions{})
	asked := func(s *redistest.Server) (n int) { // for subscribers, and how often
		_, after, _ := strings.Cut(s.Client().Info(ctx, "commandstats").Val(), "cmdstat_pubsub|numsub:calls=")
		_, _ = fmt.Sscanf(after, "%d", &n)
		return n
	}
	hangs := r.replica(updates)
	before := asked(hangs)
	r.add(updates, 3)
	eventually(t, "it is asked as well", func() bool { return asked(hangs) > before })
	hangs.Freeze()

	// Its subscribers are not known: there is none, and the topic is held, however often the nodes are asked.
	before = asked(r.master(updates))
	eventually(t, "the nodes are asked several times", func() bool { return asked(r.master(updates)) >= before+8 })
	require.Equal(t, uint64(3), r.topic(updates).Pending)
	r.state(updates, relay.Held)

	sub := r.subscribe("at the master", r.master(updates))
	sub.WaitFor(3)
	began := time.Now()
	for n := 4; n < 7; n++ {
		r.add(updates, 1)
		sub.WaitFor(n)
	}
	t.Logf("three events one by one past a node that hangs took %v", time.Since(began))
	require.Less(t, time.Since(began), redistest.Patience)
	waitEmpty(t, r.box)
	require.Zero(t, r.topic(updates).Unheard)
	hangs.Thaw()
	setTimeout(usual)
}

func theReplicaHasIt(t *testing.T, cluster *redistest.Cluster) {
	r := newClusterRig(t, cluster)
	sub := r.subscribe("at another master", r.others(updates)[0])
	opts := clusterOptions()
	opts.WaitReplicas, opts.WaitTimeout = 1, 200*time.Millisecond
	r.start(opts, relay.ClientOptions{})
	r.add(updates, 10)
	waitEmpty(t, r.box)
	settled := r.topic(updates).Cursor

	frozen := r.replica(updates)
	frozen.Freeze()
	r.add(updates, 10)
	eventually(t, "it is told, with the mend", func() bool {
		h := r.health(updates)
		return h.State == relay.RedisDown && strings.Contains(h.LastError, "0 of 1 replicas have confirmed within 200ms; check Redis's replicas, or lower RELAY_WAIT_REPLICAS")
	})
	require.Equal(t, settled, r.topic(updates).Cursor, "not settled")
	frozen.Thaw()
	waitEmpty(t, r.box)
	r.state(updates, relay.Delivering)
	sub.WaitFor(20)

	t.Log("the slot moves: another master, another replica")
	cluster.MigrateSlot(redistest.SlotOf(channels[updates]), r.others(updates)[0])
	r.add(updates, 10)
	sub.WaitFor(30)
	waitEmpty(t, r.box)
	r.state(updates, relay.Delivering)
	require.Len(t, distinct(history(sub)), 30)
	require.Equal(t, 30, sub.Count(), "nothing twice")
	require.Len(t, redistest.ReadStream(t, r.client, relay.StreamKey(channels[updates])), 30)
	frozen = r.replica(updates)
	frozen.Freeze()
	r.add(updates, 1)
	r.state(updates, relay.RedisDown)
	frozen.Thaw()
	waitEmpty(t, r.box)
}

// mayWarn is all that a relay with enough rights may warn of: the machine is so slow that a node has not answered within half a
// second, and counts for none, or that a call was not answered in time. A right that is missing blocks the topic, or makes the
// relay warn that Redis does not tell something.
var mayWarn = regexp.MustCompile(`^\S+ level=WARN msg="(held: too few subscribers"|cannot publish; events wait in the outbox" topic=\S+ state=redis_down) `)

func requireUnrefused(t *testing.T, log string) {
	t.Helper()
	for line := range strings.Lines(log) {
		require.Regexp(t, mayWarn, line)
		require.NotContains(t, line, "NOPERM")
	}
}

func leastRights(t *testing.T, cluster *redistest.Cluster) {
	r := newClusterRig(t, cluster)
	require.NoError(t, r.client.Del(context.Background(), relay.StreamKey(channels[updates])).Err())
	question := relay.Question{Features: []relay.Feature{relay.Streams, relay.Replicas, relay.Cluster}}
	for _, topic := range []string{updates, statuses, alerts} {
		question.Channels = append(question.Channels, channels[topic])
	}
	allow := func(user string, optional bool) relay.ClientOptions {
		rights := []any{"ACL", "SETUSER", user, "reset", "on", ">pw", "-@all"}
		for _, n := range question.Needs() {
			if n.Optional && !optional {
				continue
			}
			if rights = append(rights, n.Right); n.On != "" {
				rights = append(rights, n.On)
			}
		}
		for _, s := range cluster.Servers {
			require.NoError(t, s.Client().Do(context.Background(), rights...).Err())
		}
		return relay.ClientOptions{Username: user, Password: "pw"}
	}
	sub := r.subscribe("at another master", r.others(updates)[0])
	log := &safeBuffer{}
	opts := clusterOptions()
	opts.MinReceivers = map[string]int{updates: 1}
	opts.MaxBuffer = 1 // look at the buffers all the time
	opts.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))

	t.Log("with the optional ones: flow control, and a slot that is half moved")
	r.start(opts, allow("optional", true))
	r.add(updates, 3000)
	sub.WaitFor(3000)
	waitEmpty(t, r.box)
	r.receivers(updates, 1)
	move := cluster.BeginMigration(redistest.SlotOf(channels[updates]), r.others(updates)[0])
	for move.MoveKeys(10) {
	}
	r.add(updates, 10)
	sub.WaitFor(3010)
	waitEmpty(t, r.box)
	move.Finish()
	requireUnrefused(t, log.String())
	r.halt()

	t.Log("and waiting for replicas")
	opts.WaitReplicas = 1
	r.start(opts, allow("optional", true))
	r.add(updates, 10)
	sub.WaitFor(3020)
	waitEmpty(t, r.box)
	requireUnrefused(t, log.String())
	r.halt()

	t.Log("without the optional ones it still delivers")
	r.start(opts, allow("least", false))
	r.add(updates, 3000)
	sub.WaitFor(6020)
	waitEmpty(t, r.box)
	r.receivers(updates, -1)
	eventually(t, "it warns of the right that is missing", func() bool { return strings.Contains(log.String(), "+client|list") })
	require.Equal(t, 6020, sub.Count(), "nothing twice")
	require.Len(t, redistest.ReadStream(t, r.client, relay.StreamKey(channels[updates])), 6020)
}

func scriptsAreLoaded(t *testing.T, cluster *redistest.Cluster) {
	ctx := context.Background()
	r := newClusterRig(t, cluster)
	sub := r.subscribe("at another master", r.others(updates)[0])
	r.start(clusterOptions(), relay.ClientOptions{})
	r.add(updates, 10)
	sub.WaitFor(10)

	t.Log("all nodes have forgotten, and one is down")
	down := r.replica(updates)
	down.Kill()
	for _, s := range cluster.Servers {
		if s != down {
			require.NoError(t, s.Client().ScriptFlush(ctx).Err())
		}
	}
	r.add(updates, 10)
	sub.WaitFor(20)
	down.Start()
	cluster.WaitHealthy()

	t.Log("the slot's new master never had them")
	to := r.others(updates)[0]
	require.NoError(t, to.Client().ScriptFlush(ctx).Err())
	cluster.MigrateSlot(redistest.SlotOf(channels[updates]), to)
	r.add(updates, 10)
	sub.WaitFor(30)
	waitEmpty(t, r.box)
	r.state(updates, relay.Delivering)
	require.Equal(t, 30, sub.Count(), "nothing twice")
}

// safeBuffer takes the log of a relay that goes on.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
