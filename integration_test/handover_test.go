package integration_test

import (
	"context"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

// name is one that operators give to another machine by hand: the relay connects through it, subscribers ask for it.
type name struct {
	*redistest.Proxy
	addr atomic.Pointer[string]
}

func newName(t *testing.T, s *redistest.Server) *name {
	t.Helper()
	n := &name{Proxy: redistest.NewProxy(t, s.Addr())}
	n.give(s)
	return n
}

func (n *name) give(s *redistest.Server) {
	addr := s.Addr()
	n.Redirect(addr)
	n.addr.Store(&addr)
}

func (n *name) resolve() string { return *n.addr.Load() }

func (n *name) client() relay.ClientOptions { return relay.ClientOptions{Addrs: []string{n.Addr()}} }

func startPair(t *testing.T) (master, replica *redistest.Server) {
	t.Helper()
	master = redistest.Start(t, redistest.Options{})
	replica = redistest.Start(t, redistest.Options{ReplicaOf: master})
	replica.WaitInSync()
	return master, replica
}

func do(t *testing.T, s *redistest.Server, words ...any) {
	t.Helper()
	require.NoError(t, s.Client().Do(t.Context(), words...).Err())
}

func TestAStaleReplicaThatTakesOverIsGivenWhatItLacks(t *testing.T) {
	t.Parallel()
	master, replica := startPair(t)
	n := newName(t, master)
	l := startLoad(t, n.client(), relayOptions(), map[string]*redistest.Subscriber{
		"prompt": follow(t, n.resolve, 0), "late": follow(t, n.resolve, time.Second)})
	var tail tails
	var given []redistest.Event
	known := map[string]int{}
	l.during(5*pace, func() {
		for _, sub := range l.subs {
			sub.WaitFor(50)
		}
		do(t, replica, "REPLICAOF", "NO", "ONE")
		for topic, channel := range channels {
			known[topic] = int(replica.Client().XLen(t.Context(), relay.StreamKey(channel)).Val())
		}
		l.waitSafe() // more than the replica has
		tail = tailsOf(t, l.box)
		master.Kill()
		given = l.waitDown()
		n.give(replica)
		l.waitDelivering()
	})
	waitEmpty(t, l.box)
	health, mayRepeat := l.relay.Health(), tail.mayRepeat(t, l.box, given)
	for topic, channel := range channels {
		lacked, old := 0, 0
		for _, e := range given {
			if e.Topic == topic {
				lacked++
				if !mayRepeat[e.MessageID] {
					old++
				}
			}
		}
		lacked -= known[topic]
		require.Greater(t, old, known[topic], "%s: some were lacking that are not published again", topic)
		require.Equal(t, 1, health.Topics[topic].Amnesias, topic)
		require.Positive(t, health.Topics[topic].Readded, topic)
		require.LessOrEqual(t, health.Topics[topic].Readded, lacked, topic)
		requireMark(t, l, replica, topic, channel)
	}
	l.requireWhole(replica.Client(), mayRepeat)
	require.Contains(t, l.alerted(), "redis_amnesia")
}

// requireMark compares the high-water mark in Redis with the last event of the topic.
func requireMark(t *testing.T, l *load, s *redistest.Server, topic, channel string) {
	t.Helper()
	stats, err := l.box.Stats(context.Background())
	require.NoError(t, err)
	mark := s.Client().HGetAll(t.Context(), "matchrelay:{"+channel+"}:hwm:"+stats.Origin).Val()
	for _, ts := range stats.Topics {
		if ts.Topic == topic {
			last := strconv.FormatUint(ts.LastSequence, 10)
			require.Equal(t, []string{last, last}, []string{mark["seq"], mark["stream_seq"]}, topic)
		}
	}
}

func TestAMasterThatIsDemotedBehindItsNameIsLeft(t *testing.T) {
	t.Parallel()
	master, replica := startPair(t)
	n := newName(t, master)
	l := startLoad(t, n.client(), relayOptions(), map[string]*redistest.Subscriber{"prompt": follow(t, n.resolve, 0)})
	var tail tails
	var given []redistest.Event
	l.during(pace, func() {
		l.waitSafe()
		tail = tailsOf(t, l.box)
		n.give(replica)
		do(t, replica, "REPLICAOF", "NO", "ONE")
		host, port, err := net.SplitHostPort(replica.Addr())
		require.NoError(t, err)
		do(t, master, "REPLICAOF", host, port) // its connections stay
		given = l.appended()
		l.subs["prompt"].Cut()
		l.waitTopics("delivering again") // it writes to the other
		l.waitDelivering()
	})
	l.requireWhole(replica.Client(), tail.mayRepeat(t, l.box, given))
	require.False(t, master.IsMaster())
}
