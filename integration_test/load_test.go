package integration_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// load is an outbox with a relay and subscribers, streams included, while something is done to the Redis between them.
type load struct {
	t     *testing.T
	box   *outbox.Outbox
	relay *relay.Relay
	log   *recorder
	subs  map[string]*redistest.Subscriber
	stop  func()
}

// startLoad starts a relay of an empty outbox, with streams that lose nothing.
func startLoad(t *testing.T, server relay.ClientOptions, opts relay.Options, subs map[string]*redistest.Subscriber) *load {
	t.Helper()
	l := &load{t: t, subs: subs, log: &recorder{}, box: openBox(t, filepath.Join(t.TempDir(), "outbox.db"))}
	opts.Streams, opts.StreamMaxLen, opts.Logger = true, 100_000, slog.New(l.log)
	for _, sub := range subs {
		sub.WaitSubscribed(1)
	}
	l.relay, l.stop = startRelayAs(t, l.box, server, opts)
	return l
}

// follow subscribes to all channels of whichever server resolve names.
func follow(t *testing.T, resolve func() string, reconnect time.Duration) *redistest.Subscriber {
	t.Helper()
	return redistest.Subscribe(t, "", redistest.SubscriberOptions{
		Channels: []string{"test:updates", "test:statuses", "test:alerts"}, Reconnect: reconnect, Resolve: resolve})
}

// during has the writers append to all three topics, each at a pace, for as long as the fault takes.
func (l *load) during(pace time.Duration, fault func()) {
	l.t.Helper()
	whileWriting(l.t, pace, fault, func(n int) error {
		err := commitStep(l.box, nil)
		if err == nil && n%4 == 0 {
			_, err = l.box.Add(context.Background(), newEvent(alerts, "alert"))
		}
		return err
	})
}

// appended is what the processor has done, and the alerts.
func (l *load) appended() []redistest.Event {
	l.t.Helper()
	events := committed(l.t, l.box)
	list, err := l.box.List(context.Background(), outbox.Filter{Topic: alerts})
	require.NoError(l.t, err)
	for _, info := range list {
		events = append(events, redistest.Event{Topic: alerts, MessageID: info.MessageID})
	}
	return events
}

// waitDown returns when the relay has noticed on every topic that Redis is away, with what had been appended by then:
// whatever it sent before is among that. On one topic it may have found another Redis when it notices on the next.
func (l *load) waitDown() (given []redistest.Event) {
	l.t.Helper()
	down := map[string]bool{}
	eventually(l.t, "Redis is known to be down", func() bool {
		for name, topic := range l.relay.Health().Topics {
			down[name] = down[name] || topic.State == relay.RedisDown
			if !down[name] {
				return false
			}
		}
		return true
	})
	return l.appended()
}

func (l *load) waitDelivering() {
	l.t.Helper()
	l.waitState("the relay delivers", relay.Delivering)
}

func (l *load) waitState(what string, state relay.State) {
	l.t.Helper()
	eventually(l.t, what, func() bool {
		for _, topic := range l.relay.Health().Topics {
			if topic.State != state {
				return false
			}
		}
		return true
	})
}

// waitSafe waits until some events of each topic must not come again when Redis dies.
func (l *load) waitSafe() {
	l.t.Helper()
	waitSafe(l.t, l.box, updates, statuses, alerts)
}

// requireWhole waits until everything is delivered and compares all that was appended with what every subscriber has
// received, what the streams of the server hold, and what is counted. No event may be parked, unheard or lost; only those
// in mayRepeat may have come to a subscriber twice.
func (l *load) requireWhole(server redis.Cmdable, mayRepeat map[string]bool) {
	l.t.Helper()
	waitEmpty(l.t, l.box)
	state := l.appended()
	h := redistest.History{Appended: state, MayRepeat: mayRepeat, Subscribers: map[string][]redistest.Event{},
		Streams: map[string][]redistest.StreamEntry{}, Status: map[string]redistest.TopicCounts{}, Topics: map[string][]string{}}
	for name, sub := range l.subs {
		received := func() []redistest.Event { return redistest.Events(sub.Messages(), topicOf, redistest.EnvelopeID) }
		eventually(l.t, "every event has come to "+name, func() bool { return len(distinct(received())) >= len(state) })
		h.Subscribers[name] = received()
	}
	for topic, channel := range channels {
		key := relay.StreamKey(channel)
		h.Streams[key], h.Topics[key] = redistest.ReadStream(l.t, server, key), []string{topic}
	}
	stats, err := l.box.Stats(context.Background())
	require.NoError(l.t, err)
	for _, s := range stats.Topics {
		h.Status[s.Topic] = redistest.TopicCounts{Appended: s.Appended, Pending: s.Pending, Delivered: s.Delivered,
			Unheard: s.Unheard, Parked: s.Parked, Discarded: s.Discarded, Replayed: s.Replayed}
	}
	require.Empty(l.t, h.Check())
	// A single failure between calls that succeed looks the same whether a network or the event is at fault.
	require.NotContains(l.t, l.log.values("attempts"), "2", "no event is blamed twice")
	l.waitDelivering()
	l.stop()
	requireSound(l.t, l.box)
}

// alerted are the kinds of the alerts that were raised.
func (l *load) alerted() []string { return l.log.values("alert") }

// recorder is a slog.Handler that keeps what is logged.
type recorder struct {
	mu      sync.Mutex
	records []slog.Record // guarded by mu, with the attributes of their loggers
}

// Enabled implements slog.Handler.
func (*recorder) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (r *recorder) Handle(_ context.Context, record slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, record)
	return nil
}

// WithAttrs implements slog.Handler.
func (r *recorder) WithAttrs(attrs []slog.Attr) slog.Handler { return &labelled{r, attrs} }

// labelled is the recorder of a logger with attributes.
type labelled struct {
	*recorder
	attrs []slog.Attr
}

// Handle implements slog.Handler.
func (l *labelled) Handle(ctx context.Context, record slog.Record) error {
	record = record.Clone()
	record.AddAttrs(l.attrs...)
	return l.recorder.Handle(ctx, record)
}

// WithGroup implements slog.Handler.
func (r *recorder) WithGroup(string) slog.Handler { return r }

// with returns the records whose message contains one of the texts.
func (r *recorder) with(texts ...string) (records []slog.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, record := range r.records {
		if slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(record.Message, text) }) {
			records = append(records, record)
		}
	}
	return records
}

// waitTopics waits until one of the texts was logged of each topic.
func (l *load) waitTopics(texts ...string) {
	l.t.Helper()
	eventually(l.t, strings.Join(texts, ", or "), func() bool {
		topics := map[string]bool{}
		for _, topic := range valuesOf(l.log.with(texts...), "topic") {
			topics[topic] = true
		}
		return len(topics) == len(channels)
	})
}

// values returns those of an attribute.
func (r *recorder) values(key string) []string { return valuesOf(r.with(""), key) }

func valuesOf(records []slog.Record, key string) (values []string) {
	for _, record := range records {
		if value, ok := attrsOf(record)[key]; ok {
			values = append(values, value)
		}
	}
	return values
}

func attrsOf(record slog.Record) map[string]string {
	attrs := map[string]string{}
	record.Attrs(func(a slog.Attr) bool {
		attrs[a.Key] = a.Value.String()
		return true
	})
	return attrs
}
