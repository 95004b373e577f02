package relay_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestAnEventIsSettledOnlyWhenItsReplicasHaveIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	replica := redistest.Start(t, redistest.Options{ReplicaOf: r.server})
	replica.WaitInSync()
	sub := r.subscribe(redistest.SubscriberOptions{})
	opts := streaming()
	opts.WaitReplicas, opts.WaitTimeout = 1, 200*time.Millisecond
	opts.HealthInterval = time.Hour // a guard that finds the replica frozen would keep everything from being published
	r.start(opts)
	r.addMany("news", 900)
	r.waitOutlived()
	sub.WaitFor(900)
	settled := r.topic("news").Cursor

	replica.Freeze()
	r.addMany("news", 700)
	sub.WaitFor(1600)
	eventually(t, "it is told", func() bool {
		h := r.relay.Health().Topics["news"]
		return h.State == relay.RedisDown && strings.Contains(h.LastError, "0 of 1 replicas have confirmed within 200ms; check Redis's replicas, or lower RELAY_WAIT_REPLICAS")
	})
	r.halt()
	require.Equal(t, settled, r.topic("news").Cursor, "published, but not settled")
	// Nor does a fresh relay take the word of Redis, which has accepted them, for it.
	fresh := relay.NewClient(relay.ClientOptions{Addrs: []string{r.server.Addr()}})
	defer fresh.Close()
	r.startTarget(opts, relay.NewRedis(fresh, socketTimeout))
	eventually(t, "it is told again", func() bool { return r.relay.Health().Topics["news"].State == relay.RedisDown })
	require.Equal(t, settled, r.topic("news").Cursor)

	replica.Thaw()
	r.waitDelivered("news")
	r.requireComplete(sub, nil)
	r.requireStream(r.news())
	require.Empty(t, r.alertKinds())
	r.halt()
	require.Equal(t, int64(1600), replica.Client().XLen(context.Background(), newsStream).Val())
}

func TestACallThatFailsInTheMiddleSettlesNothingBeforeItsReplicasWereAsked(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	target := relay.NewRedis(r.client, socketTimeout)
	require.NoError(t, target.Load(context.Background()))
	var batches []relay.Batch
	predecessor := outbox.Mark{}
	for sequence := range uint64(4) {
		e := outbox.Entry{Sequence: sequence + 1, MessageID: "m", Payload: []byte(strings.Repeat("x", 1<<20))}
		batches = append(batches, relay.Batch{Channel: "test:news", Origin: "o", Predecessor: predecessor, Stream: &relay.Stream{MaxLen: 10},
			Wait: relay.Wait{Replicas: 1, Timeout: 50 * time.Millisecond}, Events: []outbox.Entry{e}})
		predecessor = outbox.Mark{Sequence: e.Sequence, MessageID: "m"}
	}
	published := func() int {
		n, _ := r.server.Client().HGet(context.Background(), "matchrelay:{test:news}:hwm:o", "seq").Int()
		return n
	}
	// There is so much memory that the first are taken and the last are not.
	for limit := 2 << 20; published() == 0; limit += 256 << 10 {
		r.do("CONFIG", "SET", "maxmemory", limit)
		replies, err := target.Publish(context.Background(), batches...)
		require.ErrorContains(t, err, "OOM")
		require.Empty(t, replies)
	}
	require.Less(t, published(), 4)
}

func TestAUserWhoMayNotWaitForReplicas(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	opts := quick()
	opts.WaitReplicas = 1
	r.startTarget(opts, r.as(append(least, optional...)...))
	r.add("news", 1)
	eventually(t, "it is told", func() bool {
		h := r.relay.Health().Topics["news"]
		return h.State == relay.Blocked && strings.Contains(h.LastError, "+wait")
	})
}
