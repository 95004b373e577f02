package integration_test

import (
	"context"
	"log/slog"
	"path/filepath"
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
	over := make(chan struct{})
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for i := 0; ; i++ {
				err := commitStep(l.box, nil)
				if err == nil && i%4 == 0 {
					_, err = l.box.Add(context.Background(), newEvent(alerts, "alert"))
				}
				if err != nil {
					l.t.Error(err)
					return
				}
				select {
				case <-over:
					return
				case <-time.After(pace):
				}
			}
		})
	}
	defer group.Wait()
	defer close(over)
	fault()
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
// whatever it sent before is among that.
func (l *load) waitDown() (given []redistest.Event) {
	l.t.Helper()
	l.waitState("Redis is known to be down", relay.RedisDown)
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

// taken are the events that a master that died may have kept from its subscribers: what it was given at all, but for what
// any of them had for two seconds by then.
func (l *load) taken(given []redistest.Event, died time.Time) map[string]bool {
	ids := distinct(given)
	for _, sub := range l.subs {
		for _, m := range sub.Messages() {
			if m.At.Before(died.Add(-2*time.Second - slack)) {
				delete(ids, redistest.EnvelopeID(m.Payload))
			}
		}
	}
	return ids
}

// slack is what a machine that is busy with other tests may delay.
const slack = 2 * time.Second

// ample is what it may delay where being late is no fault, and being a minute late is one.
const ample = 10 * time.Second

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
	records []slog.Record // guarded by mu
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
func (r *recorder) WithAttrs([]slog.Attr) slog.Handler { return r }

// WithGroup implements slog.Handler.
func (r *recorder) WithGroup(string) slog.Handler { return r }

// with returns the messages that contain a text.
func (r *recorder) with(text string) (messages []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, record := range r.records {
		if strings.Contains(record.Message, text) {
			messages = append(messages, record.Message)
		}
	}
	return messages
}

// values returns those of an attribute.
func (r *recorder) values(key string) (values []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, record := range r.records {
		record.Attrs(func(a slog.Attr) bool {
			if a.Key == key {
				values = append(values, a.Value.String())
			}
			return true
		})
	}
	return values
}
