package relay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// channels of the topics under test; the names are not those of the topics.
var channels = map[string]string{"news": "test:news", "alerts": "test:alerts"}

var topicOf = map[string]string{"test:news": "news", "test:alerts": "alerts"}

// socketTimeout is that of a Redis that no test freezes: it is long, so that a machine that is slow is not taken for an outage.
const socketTimeout = 30 * time.Second

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
	r.client = relay.NewClient(relay.ClientOptions{Addrs: []string{r.server.Addr()}, DialTimeout: socketTimeout})
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
		RejoinWait: redistest.Patience, HealthInterval: 500 * time.Millisecond}
}

// bySignal is why the context of a program ends that is told to end: relays end for that here, too.
var bySignal = func() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGUSR1)
	defer stop()
	_ = syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	<-ctx.Done()
	return context.Cause(ctx)
}()

// start runs a relay until halt.
func (r *rig) start(opts relay.Options) {
	r.startTarget(opts, relay.NewRedis(r.client, socketTimeout))
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
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.relay.Run(ctx) }()
	r.stop = func() error {
		cancel(bySignal)
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
func (r *rig) addMany(topic string, n int) (sequences []uint64) {
	r.t.Helper()
	events := make([]outbox.Event, n)
	for i := range events {
		events[i] = message(topic, fmt.Sprint(topic, " ", i))
		r.appended = append(r.appended, redistest.Event{Topic: topic, MessageID: events[i].MessageID})
	}
	sequences, err := r.box.Add(context.Background(), events...)
	require.NoError(r.t, err)
	return sequences
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

// subscribeAbsent is subscribe for one that stays away, once it is told to go and its connection has broken, until it is let
// come back.
func (r *rig) subscribeAbsent() (sub *redistest.Subscriber, away *atomic.Bool) {
	away = &atomic.Bool{}
	sub = r.subscribe(redistest.SubscriberOptions{Resolve: func() string {
		if away.Load() {
			return "" // nobody is there
		}
		return r.server.Addr()
	}})
	return sub, away
}

// patientBuffers keeps Redis from disconnecting a subscriber that is far behind, however long the test takes.
const patientBuffers = "client-output-buffer-limit pubsub 0 0 0"

// subscribeStuck is subscribe for one that reads nothing after its first message until it is let. The kernel buffers little for
// it, so that Redis feels it.
func (r *rig) subscribeStuck() (sub *redistest.Subscriber, read func()) {
	stuck := make(chan struct{})
	read = sync.OnceFunc(func() { close(stuck) })
	sub = r.subscribe(redistest.SubscriberOptions{BytesPerSecond: 1 << 30, Keep: func(payload []byte) []byte {
		<-stuck
		return redistest.KeepMessageID(payload)
	}})
	r.t.Cleanup(read) // before it is closed
	return sub, read
}

// waitSubscribers waits until Redis counts n subscribers of news: it notices a moment later that one has gone.
func (r *rig) waitSubscribers(client redis.Cmdable, n int64) {
	r.t.Helper()
	eventually(r.t, fmt.Sprint(n, " subscribers are there"), func() bool {
		counts, err := client.PubSubNumSub(context.Background(), "test:news").Result()
		return err == nil && counts["test:news"] == n
	})
}

// waitOutlived waits until everything of news is settled, and Redis is known to have outlived it, so that none of it comes
// again when Redis dies.
func (r *rig) waitOutlived() {
	r.t.Helper()
	eventually(r.t, "the tail is known to be safe", func() bool { return r.topic("news").Pending == 0 && r.topic("news").Progress.TailFrom == 0 })
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

var eventually = redistest.Eventually

func (r *rig) waitDelivered(topic string) {
	r.t.Helper()
	eventually(r.t, "everything of "+topic+" is settled", func() bool {
		s := r.topic(topic)
		return s.Pending == 0
	})
}

// waitRejoin waits until the topic news waits for the subscribers that were there before an outage, of which some are back.
func (r *rig) waitRejoin(some string) {
	r.t.Helper()
	eventually(r.t, "it waits for subscribers", func() bool {
		h := r.relay.Health().Topics["news"]
		return h.State == relay.Waiting && h.LastError == some+" subscribers are back"
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

// mayRepeatOf names events for requireComplete.
func mayRepeatOf(events []redistest.Event) map[string]bool {
	ids := map[string]bool{}
	for _, e := range events {
		ids[e.MessageID] = true
	}
	return ids
}
