package relay_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// oversized is an event that a server with proto-max-bulk-len 1mb answers by closing the connection.
func oversized() outbox.Event {
	return outbox.Event{Topic: "news", MessageID: uuid.NewString(), Payload: []byte(strings.Repeat("x", 2<<20))}
}

func TestAnEventThatFailsByItselfIsParkedAndTheRestGoesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{Config: []string{"proto-max-bulk-len 1mb"}})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.add("news", 5)
	poison, err := r.box.Add(context.Background(), oversized())
	require.NoError(t, err)
	r.add("news", 5)
	r.add("alerts", 5)
	r.start(quick())
	r.waitDelivered("news")
	r.waitDelivered("alerts")
	sub.WaitFor(16) // and the alert
	r.requireComplete(sub, nil)

	parked, err := r.box.List(context.Background(), outbox.Filter{State: outbox.Parked})
	require.NoError(t, err)
	require.Len(t, parked, 1)
	require.Equal(t, poison[0], parked[0].Sequence)
	require.Equal(t, relay.DefaultMaxRetries, parked[0].Attempts)
	require.Contains(t, parked[0].LastError, "poison")
	require.Equal(t, []string{"event_parked"}, r.alertKinds())
}

func TestAnEventThatFailsByItselfBlocksItsTopicWhenParkingIsOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{Config: []string{"proto-max-bulk-len 1mb"}})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.add("news", 5)
	_, err := r.box.Add(context.Background(), oversized())
	require.NoError(t, err)
	opts := quick()
	opts.BlockOnPoison = true
	r.start(opts)
	eventually(t, "the topic is blocked", func() bool {
		h := r.relay.Health()
		return h.State == relay.Blocked && strings.Contains(h.LastError, "RELAY_ON_POISON")
	})
	r.add("alerts", 5)
	sub.WaitFor(10)
	require.NoError(t, r.server.Client().ConfigSet(context.Background(), "proto-max-bulk-len", "512mb").Err())
	r.relay.RetryNow()
	r.waitDelivered("news")
	require.Zero(t, r.topic("news").Parked)
}

func TestADamagedRecordIsParkedAndNeverPublished(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	sequences := r.add("news", 9)
	require.NoError(t, r.box.Close())
	damage(t, r.path, "news", sequences[4])
	r.open()
	r.appended = append(r.appended[:4], r.appended[5:]...)
	r.start(quick())
	r.waitDelivered("news")
	sub.WaitFor(9) // eight and the alert
	r.requireComplete(sub, nil)
	parked, err := r.box.List(context.Background(), outbox.Filter{State: outbox.Parked})
	require.NoError(t, err)
	require.Len(t, parked, 1)
	require.Equal(t, sequences[4], parked[0].Sequence)
	require.True(t, parked[0].Damaged)
	require.Contains(t, parked[0].LastError, "checksum")

	// The rig's closing check must not trip over what this test broke on purpose.
	require.NoError(t, r.box.Close())
	require.NoError(t, os.Remove(r.path))
	r.halt2()
	r.open()
}

// damage flips one byte of an event's payload in a closed file.
func damage(t *testing.T, path, topic string, sequence uint64) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *bolt.Tx) error {
		log := tx.Bucket([]byte("matchrelay/log/" + topic))
		key := []byte{0, 0, 0, 0, 0, 0, 0, byte(sequence)}
		value := append([]byte(nil), log.Get(key)...)
		value[len(value)-1] ^= 1
		return log.Put(key, value)
	}))
	require.NoError(t, db.Close())
}

// halt2 stops a relay whose outbox was closed under it.
func (r *rig) halt2() {
	require.ErrorIs(r.t, r.stop(), outbox.ErrClosed)
	r.stop = nil
}

func TestAScriptThatRedisForgotIsLoadedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.start(quick())
	for i := range 3 {
		r.add("news", 2)
		sub.WaitFor(2 * (i + 1))
		require.NoError(t, r.server.Client().ScriptFlush(context.Background()).Err())
	}
	r.add("news", 1)
	sub.WaitFor(7)
	r.requireComplete(sub, nil)
}

func TestAReplyThatIsCutOffPublishesNothingTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	proxy := redistest.NewProxy(t, r.server.Addr())
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{proxy.Addr()}})
	defer client.Close()
	r.startTarget(quick(), relay.NewRedis(client, socketTimeout))
	r.add("news", 1)
	sub.WaitFor(1)
	for round := range 20 {
		proxy.CutReplies()
		r.addMany("news", 1+round*60)
		eventually(t, "replies are cut", func() bool { return r.relay.Health().State == relay.RedisDown })
		proxy.Heal()
		r.waitDelivered("news")
	}
	sub.WaitFor(len(r.appended))
	r.halt()
	r.requireComplete(sub, nil)
	require.Zero(t, r.topic("news").Parked)
	require.Empty(t, r.alertKinds())
}

func TestUntilEmptyReturnsWhenEverythingIsDelivered(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.addMany("news", 1000)
	r.addMany("alerts", 10)
	opts := quick()
	opts.UntilEmpty = true
	require.NoError(t, relay.New(r.box, relay.NewRedis(r.client, socketTimeout), opts).Run(context.Background()))
	sub.WaitFor(1010)
	r.requireComplete(sub, nil)
	require.Zero(t, r.topic("news").Pending)
	require.Zero(t, r.topic("news").Progress.TailFrom, "Redis is known to have outlived the last event")
}

func TestTwoRelaysOnCopiesOfAFileComeToRest(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.start(quick())
	r.add("news", 10)
	sub.WaitFor(10)
	r.halt()
	r.add("news", 5) // pending in both files
	require.NoError(t, r.box.Close())
	copyFile(t, r.path, r.path+".copy")
	r.open()
	other := &rig{t: t, path: r.path + ".copy", server: r.server, client: r.client, appended: append([]redistest.Event(nil), r.appended...)}
	other.open()
	r.start(quick())
	other.start(quick())
	for range 10 {
		r.add("news", 3)
		other.add("news", 3)
	}
	r.waitDelivered("news")
	other.waitDelivered("news")
	epochs := func() (sum uint64) {
		for _, box := range []*outbox.Outbox{r.box, other.box} {
			stats, err := box.Stats(context.Background())
			require.NoError(t, err)
			sum += stats.Epoch
		}
		return sum
	}
	require.Equal(t, uint64(3), epochs(), "one of them, and only one, has taken a fresh origin")
	r.add("news", 3)
	other.add("news", 3)
	r.waitDelivered("news")
	other.waitDelivered("news")
	require.Equal(t, uint64(3), epochs(), "and there it ends")

	r.waitArrived(sub, append(r.appended[:len(r.appended):len(r.appended)], other.appended...))
	got := map[string]int{}
	for _, m := range sub.Messages() {
		got[redistest.EnvelopeID(m.Payload)]++
	}
	for _, e := range append(r.appended, other.appended...) {
		require.NotZero(t, got[e.MessageID], fmt.Sprint("lost: ", e))
	}
	for _, e := range r.appended[:10] {
		require.Equal(t, 1, got[e.MessageID], "what was settled before the copy came once")
	}
	other.halt()
	require.NoError(t, other.box.Close())
}

func TestTopicsWaitForTheSubscribersThatWereThereBeforeAnOutage(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	prompt := r.subscribe(redistest.SubscriberOptions{})
	slow, away := r.subscribeAbsent()
	front := r.front()
	fail := front.mute("test:news", "test:alerts")
	r.startTarget(quick(), front)
	r.addMany("news", 5)
	r.addMany("alerts", 5)
	prompt.WaitFor(10)
	slow.WaitFor(10)
	away.Store(true)
	r.server.Kill()
	fail()
	mayRepeat := mayRepeatOf(r.appended)
	r.add("news", 5)
	r.add("alerts", 5)
	r.server.Start()
	prompt.WaitSubscribed(2)
	r.waitRejoin("1 of 2")
	away.Store(false)
	slow.WaitSubscribed(2)
	r.waitDelivered("news")
	r.waitDelivered("alerts")
	for _, sub := range []*redistest.Subscriber{prompt, slow} {
		eventually(t, "all has arrived", func() bool { return len(r.received(sub)) == 30 })
		r.requireComplete(sub, mayRepeat)
	}
}

func TestAnIdleTopicRemembersItsSubscribersWhenRedisRestartsQuickly(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{Persistence: redistest.AOF})
	r.server.Start()
	late, away := r.subscribeAbsent()
	r.start(quick())
	r.add("news", 3)
	late.WaitFor(3)
	r.waitOutlived()
	away.Store(true)
	r.server.Kill()
	r.server.Start() // before anybody has noticed
	r.waitRejoin("0 of 1")
	r.add("news", 3)
	away.Store(false)
	late.WaitSubscribed(2)
	r.waitDelivered("news")
	r.requireComplete(late, nil)
	require.Zero(t, r.topic("news").Unheard)
}
