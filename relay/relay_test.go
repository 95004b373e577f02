package relay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestMain(m *testing.M) {
	relay.QuietClientLog()
	goleak.VerifyTestMain(m, redistest.Leaks()...)
}

// channels of the topics under test; the names are not those of the topics.
var channels = map[string]string{"news": "test:news", "alerts": "test:alerts"}

var topicOf = map[string]string{"test:news": "news", "test:alerts": "alerts"}

// rig is an outbox, a redis-server, and a relay between them.
type rig struct {
	t        *testing.T
	path     string
	box      *outbox.Outbox
	server   *redistest.Server
	client   redis.UniversalClient
	relay    *relay.Relay
	appended []redistest.Event
	stop     func() error

	mu     sync.Mutex
	alerts []relay.Alert // guarded by mu
}

func newRig(t *testing.T, opts redistest.Options) *rig {
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "outbox.db"), server: redistest.New(t, opts)}
	r.open()
	r.client = relay.NewClient(relay.ClientOptions{Addrs: []string{r.server.Addr()}, DialTimeout: time.Second})
	t.Cleanup(func() {
		r.halt()
		report, err := r.box.Verify(context.Background())
		require.NoError(t, err)
		require.Empty(t, report.Problems)
		require.NoError(t, r.box.Close())
		require.NoError(t, r.client.Close())
	})
	return r
}

func (r *rig) open() {
	var err error
	r.box, err = outbox.Open(r.path, outbox.Options{})
	require.NoError(r.t, err)
}

// quick are options for tests: short waits, otherwise the defaults.
func quick() relay.Options {
	return relay.Options{Channels: channels, RetryDelay: 20 * time.Millisecond, RetryMaxDelay: 200 * time.Millisecond,
		RejoinWait: 20 * time.Second, HealthInterval: 500 * time.Millisecond}
}

// start runs a relay until halt.
func (r *rig) start(opts relay.Options) {
	r.startTarget(opts, relay.NewRedis(r.client, time.Second))
}

func (r *rig) startTarget(opts relay.Options, target relay.Target) {
	r.t.Helper()
	r.startBetween(opts, r.box, target)
}

func (r *rig) startBetween(opts relay.Options, source relay.Source, target relay.Target) {
	r.t.Helper()
	require.Nil(r.t, r.stop, "a relay is running")
	if opts.Alert == nil {
		opts.Alert = r.alert
	}
	r.relay = relay.New(source, target, opts)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.relay.Run(ctx) }()
	r.stop = func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(redistest.Patience):
			return fmt.Errorf("the relay does not stop")
		}
	}
}

// alert keeps the alert and makes it an event.
func (r *rig) alert(a relay.Alert) (outbox.Event, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.alerts = append(r.alerts, a)
	return message("alerts", a.Kind), nil
}

// halt stops the relay as SIGTERM would.
func (r *rig) halt() {
	r.t.Helper()
	if r.stop != nil {
		require.NoError(r.t, r.stop())
		r.stop = nil
	}
}

func message(topic, text string) outbox.Event {
	id := uuid.NewString()
	body, _ := json.Marshal(map[string]string{"message_id": id, "text": text})
	return outbox.Event{Topic: topic, MessageID: id, Payload: body}
}

// add appends n events to a topic, each in a commit of its own.
func (r *rig) add(topic string, n int) (sequences []uint64) {
	r.t.Helper()
	for i := range n {
		sequences = append(sequences, r.addEvent(message(topic, fmt.Sprint(topic, " ", i))))
	}
	return sequences
}

// addMany appends n events in one commit.
func (r *rig) addMany(topic string, n int) {
	r.t.Helper()
	events := make([]outbox.Event, n)
	for i := range events {
		events[i] = message(topic, fmt.Sprint(topic, " ", i))
		r.appended = append(r.appended, redistest.Event{Topic: topic, MessageID: events[i].MessageID})
	}
	_, err := r.box.Add(context.Background(), events...)
	require.NoError(r.t, err)
}

func (r *rig) addEvent(e outbox.Event) uint64 {
	r.t.Helper()
	sequences, err := r.box.Add(context.Background(), e)
	require.NoError(r.t, err)
	r.appended = append(r.appended, redistest.Event{Topic: e.Topic, MessageID: e.MessageID})
	return sequences[0]
}

func (r *rig) subscribe(opts redistest.SubscriberOptions) *redistest.Subscriber {
	if opts.Channels == nil {
		opts.Channels = []string{"test:news", "test:alerts"}
	}
	sub := redistest.Subscribe(r.t, r.server.Addr(), opts)
	sub.WaitSubscribed(1)
	return sub
}

// requireComplete checks what a subscriber got against all that was appended by the test itself.
func (r *rig) requireComplete(sub *redistest.Subscriber, mayRepeat map[string]bool) {
	r.t.Helper()
	r.waitArrived(sub, r.appended)
	require.Empty(r.t, redistest.Check(r.appended, r.received(sub), mayRepeat))
}

// waitArrived waits for what Redis has pushed already, but the subscriber may not have read yet.
func (r *rig) waitArrived(sub *redistest.Subscriber, events []redistest.Event) {
	r.t.Helper()
	eventually(r.t, "every event has arrived", func() bool {
		arrived := map[string]bool{}
		for _, m := range sub.Messages() {
			arrived[redistest.EnvelopeID(m.Payload)] = true
		}
		return !slices.ContainsFunc(events, func(e redistest.Event) bool { return !arrived[e.MessageID] })
	})
}

// received leaves out the alerts that the relay itself has appended.
func (r *rig) received(sub *redistest.Subscriber) []redistest.Event {
	own := map[string]bool{}
	for _, e := range r.appended {
		own[e.MessageID] = true
	}
	var events []redistest.Event
	for _, e := range redistest.Events(sub.Messages(), topicOf, redistest.EnvelopeID) {
		if e.Topic != "alerts" || own[e.MessageID] {
			events = append(events, e)
		}
	}
	return events
}

func (r *rig) topic(name string) outbox.TopicStats {
	r.t.Helper()
	stats, err := r.box.Stats(context.Background())
	require.NoError(r.t, err)
	for _, t := range stats.Topics {
		if t.Topic == name {
			return t
		}
	}
	return outbox.TopicStats{}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, redistest.Patience, 5*time.Millisecond, what)
}

func (r *rig) waitDelivered(topic string) {
	r.t.Helper()
	eventually(r.t, "everything of "+topic+" is settled", func() bool {
		s := r.topic(topic)
		return s.Pending == 0
	})
}

func (r *rig) alertKinds() (kinds []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.alerts {
		kinds = append(kinds, a.Kind)
	}
	return kinds
}

func TestEventsAppendedWhileRedisIsAwayArriveOnceAndInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.start(quick())
	r.add("news", 50)
	r.addMany("news", 3000)
	r.add("alerts", 5)
	eventually(t, "the relay sees the outage", func() bool { return r.relay.Health().State == relay.RedisDown })
	r.halt()

	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.start(quick())
	sub.WaitFor(3055)
	r.waitDelivered("news")
	r.waitDelivered("alerts")
	r.requireComplete(sub, nil)
	require.Equal(t, relay.Delivering, r.relay.Health().State)
	require.Equal(t, uint64(3050), r.topic("news").Delivered)
	require.Zero(t, r.topic("news").Unheard)
}

func TestARunningRelayDeliversEachEventAsItIsAppended(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.start(quick())
	for i := range 20 {
		r.add("news", 1)
		sub.WaitFor(i + 1)
	}
	r.requireComplete(sub, nil)
}

func TestWhatNobodyHearsIsCountedAndCanBeReplayed(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	r.start(quick())
	sequences := r.add("news", 3)
	r.waitDelivered("news")
	require.Equal(t, uint64(3), r.topic("news").Unheard)

	sub := r.subscribe(redistest.SubscriberOptions{})
	result, err := r.box.Replay(context.Background(), sequences, outbox.ReplayOptions{})
	require.NoError(t, err)
	require.Equal(t, 3, result.Replayed)
	sub.WaitFor(3)
	r.requireComplete(sub, nil)
	eventually(t, "they are heard now", func() bool { return r.topic("news").Unheard == 0 && r.topic("news").Pending == 0 })
}

func TestATopicThatRequiresASubscriberIsHeldWhileOthersGoOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	opts := quick()
	opts.MinReceivers = map[string]int{"news": 1}
	r.start(opts)
	r.add("news", 5)
	r.add("alerts", 5)
	r.waitDelivered("alerts")
	eventually(t, "news are held", func() bool { return r.relay.Health().Topics["news"].State == relay.Held })
	require.Equal(t, relay.Held, r.relay.Health().State)
	require.Equal(t, uint64(5), r.topic("news").Pending)

	sub := r.subscribe(redistest.SubscriberOptions{Channels: []string{"test:news"}})
	sub.WaitFor(5)
	eventually(t, "nothing is held", func() bool { return r.relay.Health().State == relay.Delivering })
	require.Zero(t, r.topic("news").Unheard)
}

func TestAHeldTopicIsPublishedUnheardWhenHoldMaxIsOver(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	opts := quick()
	opts.MinReceivers = map[string]int{"news": 1}
	opts.HoldMax = 600 * time.Millisecond
	r.start(opts)
	r.add("news", 5)
	r.waitDelivered("news")
	require.Equal(t, uint64(5), r.topic("news").Unheard)
}

func TestAFlushedRedisIsGivenItsMarkBackAndNothingIsPublishedTwice(t *testing.T) {
	t.Parallel()
	for _, idle := range []bool{false, true} {
		t.Run(map[bool]string{false: "noticed by the next event", true: "noticed while idle"}[idle], func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{})
			r.server.Start()
			sub := r.subscribe(redistest.SubscriberOptions{})
			opts := quick()
			if !idle {
				opts.HealthInterval = time.Hour
			}
			r.start(opts)
			r.add("news", 10)
			sub.WaitFor(10)
			require.NoError(t, r.server.Client().FlushAll(context.Background()).Err())
			if !idle {
				r.add("news", 1)
			}
			eventually(t, "the amnesia is noticed", func() bool { return len(r.alertKinds()) > 0 })
			r.add("news", 10)
			r.waitDelivered("news")
			sub.WaitFor(len(r.appended) + 1)
			r.requireComplete(sub, nil)
			require.Equal(t, []string{"redis_amnesia"}, r.alertKinds())
			stats, err := r.box.Stats(context.Background())
			require.NoError(t, err)
			require.Equal(t, uint64(1), stats.Epoch, "the file is the right one")
		})
	}
}

func TestAfterParkingAnEventTheNextIsNoAmnesia(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.start(quick())
	r.add("news", 3)
	sub.WaitFor(3)
	r.halt()
	parked := r.add("news", 1)[0]
	require.NoError(t, r.box.Park(context.Background(), "news", parked, outbox.Failure{Class: "poison"}))
	r.appended = r.appended[:3]
	r.start(quick())
	r.add("news", 3)
	sub.WaitFor(6)
	r.waitDelivered("news")
	r.requireComplete(sub, nil)
	require.Empty(t, r.alertKinds())
}

func TestKilledRedis(t *testing.T) {
	t.Parallel()
	for name, persistence := range map[string]redistest.Persistence{"without persistence": redistest.None, "with AOF": redistest.AOF} {
		t.Run(name+": the last two seconds come again, nothing else does, nothing is lost", func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{Persistence: persistence})
			r.server.Start()
			sub := r.subscribe(redistest.SubscriberOptions{Reconnect: time.Second})
			r.start(quick())
			r.add("news", 20)
			sub.WaitFor(20)
			eventually(t, "the tail is known to be safe", func() bool { return r.topic("news").Progress.TailFrom == 0 && r.topic("news").Pending == 0 })
			mayRepeat := map[string]bool{}
			r.add("news", 20)
			for _, e := range r.appended[20:] {
				mayRepeat[e.MessageID] = true
			}
			sub.WaitFor(40)
			r.server.Kill()
			r.add("news", 20)
			r.server.Start()
			sub.WaitSubscribed(2)
			r.waitDelivered("news")
			eventually(t, "the last one is there", func() bool {
				got := r.received(sub)
				return got[len(got)-1] == r.appended[59]
			})
			r.requireComplete(sub, mayRepeat)
			require.Len(t, r.received(sub), 80, "the tail came again")
		})
	}
}

func TestAFrozenRedisCostsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.start(quick())
	r.add("news", 20)
	sub.WaitFor(20)
	r.server.Freeze()
	r.add("news", 20)
	eventually(t, "time-outs are an outage", func() bool { return r.relay.Health().State == relay.RedisDown })
	r.server.Thaw()
	sub.WaitFor(40)
	r.waitDelivered("news")
	r.requireComplete(sub, nil)
}

func TestAnOlderCopyOfTheFileTakesAFreshOrigin(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.start(quick())
	r.add("news", 10)
	sub.WaitFor(10)
	r.halt()
	require.NoError(t, r.box.Close())
	copyFile(t, r.path, r.path+".copy")
	r.open()
	r.start(quick())
	r.add("news", 10)
	sub.WaitFor(20)
	r.halt()
	require.NoError(t, r.box.Close())

	copyFile(t, r.path+".copy", r.path)
	r.open()
	r.add("news", 15) // sequences that Redis has seen under this origin, with other message IDs
	r.start(quick())
	r.waitDelivered("news")
	eventually(t, "all that was ever appended has arrived", func() bool { return len(r.received(sub)) == 35 })
	r.requireComplete(sub, nil)
	require.Equal(t, []string{"outbox_rolled_back"}, r.alertKinds())
	stats, err := r.box.Stats(context.Background())
	require.NoError(t, err)
	require.Equal(t, uint64(2), stats.Epoch)
}
