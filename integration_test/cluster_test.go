package integration_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestAClusterThatChangesUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, 1, redistest.Options{})
	t.Run("a slot that moves costs nothing", func(t *testing.T) { aSlotMoves(t, cluster) })
	t.Run("a master that hangs is replaced", func(t *testing.T) { aMasterHangs(t, cluster) })
}

func aSlotMoves(t *testing.T, cluster *redistest.Cluster) {
	r := newClusterRig(t, cluster)
	from, others := r.master(updates), r.others(updates)
	r.subscribe("at the old master", from)
	r.subscribe("at the new master", others[0])
	r.subscribe("at a replica", r.replica(updates))
	r.start(clusterOptions(), relay.ClientOptions{})
	r.read(updates)
	r.read(statuses)
	stop := r.load()
	slot, key := redistest.SlotOf(channels[updates]), "{"+channels[updates]+"}"

	t.Log("at once")
	r.flows(updates, 100)
	cluster.MigrateSlot(slot, others[0])
	r.flows(updates, 100)
	statusSlot := redistest.SlotOf(channels[statuses])
	cluster.MigrateSlot(statusSlot, r.others(statuses)[0])
	r.flows(statuses, 100)

	t.Log("step by step: mark and stream are apart, and the topic waits (TRYAGAIN)")
	move := cluster.BeginMigration(slot, others[1])
	r.flows(updates, 100)
	require.True(t, move.MoveKeys(1))
	r.state(updates, relay.RedisDown)
	r.flows(statuses, 100)
	r.state(statuses, relay.Delivering)

	t.Log("both are at the new master, which nobody but the old one knows (ASK)")
	for move.MoveKeys(10) {
	}
	r.flows(updates, 100)
	require.Same(t, others[0], cluster.MasterOf(key))
	move.Finish()
	r.flows(updates, 100)

	stop()
	r.requireKept(nil)
	require.Zero(t, r.topic(alerts).Appended, "no alert: nothing was forgotten")
}

func TestAMasterThatIsKilledUnderLoadAndItsReplicaPromoted(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, 1, redistest.Options{})
	r := newClusterRig(t, cluster)
	killed, replica := r.master(updates), r.replica(updates)
	r.subscribe("at another master", r.others(updates)[0])
	r.subscribe("at the replica", replica)
	// To the channel of that master alone: what others publish before it comes back, it misses, and nobody notices.
	r.follow("wherever the master is", updates)
	r.start(clusterOptions(), relay.ClientOptions{})
	r.read(updates)
	r.read(statuses)
	stop := r.load()
	r.flows(updates, 200)
	waitSafe(t, r.box, updates, statuses)

	// The replica gets no more of what the master accepts: it will have forgotten that.
	// (It is not frozen, for then the others would soon cut it off, with what they had for its subscriber.)
	ctx, master := context.Background(), killed.Client()
	require.NoError(t, master.Do(ctx, "ACL", "SETUSER", "default", "-psync", "-sync").Err())
	require.NoError(t, master.Do(ctx, "CLIENT", "KILL", "TYPE", "replica").Err())
	r.flows(updates, 30)
	tail := tailsOf(t, r.box)
	killed.Kill()
	given := committed(t, r.box)
	r.requireRecovery(updates, killed, replica)
	stop()
	waitEmpty(t, r.box)

	forgot := r.health(updates)
	require.Equal(t, 1, forgot.Amnesias, "the replica had forgotten")
	require.GreaterOrEqual(t, forgot.Readded, 10, "and its stream is whole again")
	require.Equal(t, uint64(1), r.topic(alerts).Appended, "which an alert tells")
	r.requireKept(tail.mayRepeat(t, r.box, given))
}

func aMasterHangs(t *testing.T, cluster *redistest.Cluster) {
	r := newClusterRig(t, cluster)
	for _, topic := range []string{updates, statuses} {
		require.NoError(t, r.client.Del(context.Background(), relay.StreamKey(channels[topic])).Err())
	}
	hangs, replica := r.master(updates), r.replica(updates)
	for _, s := range cluster.Servers {
		if s != hangs { // who is subscribed there is not waited for
			r.subscribe("at "+s.Addr(), s)
		}
	}
	r.start(clusterOptions(), relay.ClientOptions{})
	r.read(updates)
	r.read(statuses)
	stop := r.load()
	r.flows(updates, 200)
	waitSafe(t, r.box, updates, statuses)
	tail := tailsOf(t, r.box)
	hangs.Freeze()
	r.requireRecovery(updates, hangs, replica)
	hangs.Thaw() // and does what it was asked before
	given := committed(t, r.box)
	cluster.WaitHealthy()
	r.flows(updates, 100)
	stop()
	r.requireKept(tail.mayRepeat(t, r.box, given))
}

// requireRecovery waits for the replica that takes over, for events that flow again, and for the reader of the stream.
func (r *clusterRig) requireRecovery(topic string, dead, replica *redistest.Server) {
	r.t.Helper()
	died := time.Now()
	require.Same(r.t, replica, r.cluster.WaitPromoted(dead))
	promoted := time.Since(died)
	r.flows(topic, 1)
	recovered := time.Since(died)
	reader := r.readers[topic]
	before := reader.count()
	eventually(r.t, "the reader goes on", func() bool { return reader.count() > before })
	r.t.Logf("promoted after %v, events flow after %v, the stream is read after %v", promoted, recovered, time.Since(died))
	r.flows(topic, 100)
}
