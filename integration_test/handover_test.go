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
	var died time.Time
	var given []redistest.Event
	known := map[string]int64{}
	l.during(5*pace, func() {
		<-time.After(time.Second)
		do(t, replica, "REPLICAOF", "NO", "ONE")
		for topic, channel := range channels {
			known[topic] = replica.Client().XLen(t.Context(), relay.StreamKey(channel)).Val()
		}
		<-time.After(beforehand)
		died = time.Now()
		master.Kill()
		given = l.waitDown()
		n.give(replica)
		l.waitDelivering()
	})
	waitEmpty(t, l.box)
	health, mayRepeat := l.relay.Health(), l.taken(given, died)
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
		lacked -= int(known[topic])
		require.Greater(t, old, int(known[topic]), "%s: some were lacking that are not published again", topic)
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
	opts := relayOptions()
	l := startLoad(t, n.client(), opts, map[string]*redistest.Subscriber{"prompt": follow(t, n.resolve, 0)})
	var served time.Time
	var given []redistest.Event
	l.during(pace, func() {
		<-time.After(beforehand)
		n.give(replica)
		do(t, replica, "REPLICAOF", "NO", "ONE")
		served = time.Now()
		host, port, err := net.SplitHostPort(replica.Addr())
		require.NoError(t, err)
		do(t, master, "REPLICAOF", host, port) // its connections stay
		given = l.appended()
		l.subs["prompt"].Cut()
		eventually(t, "the relay writes to the other", func() bool { return len(l.log.with("delivering again")) == len(channels) })
		require.Less(t, time.Since(served), 5*opts.RetryMaxDelay+ample)
		l.waitDelivering()
	})
	l.requireWhole(replica.Client(), l.taken(given, served))
	require.False(t, master.IsMaster())
}
