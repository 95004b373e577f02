package integration_test

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// clusterRig is a Cluster, an outbox whose relay publishes to it, and everybody who reads what comes.
type clusterRig struct {
	t       *testing.T
	cluster *redistest.Cluster
	client  *redis.ClusterClient
	box     *outbox.Outbox
	relay   *relay.Relay
	halt    func() // the relay
	readers map[string]*streamReader
	subs    map[string]*redistest.Subscriber
	only    map[string]string // the topic of a subscriber to one
}

// clusterOptions are those of a relay with streams that keep everything.
func clusterOptions() relay.Options {
	opts := relayOptions()
	opts.Streams, opts.StreamMaxLen = true, 100_000
	return opts
}

func newClusterRig(t *testing.T, cluster *redistest.Cluster) *clusterRig {
	t.Helper()
	return &clusterRig{t: t, cluster: cluster, client: cluster.Client(), box: openBox(t, filepath.Join(t.TempDir(), "outbox.db")),
		readers: map[string]*streamReader{}, subs: map[string]*redistest.Subscriber{}, only: map[string]string{}}
}

func (r *clusterRig) start(opts relay.Options, user relay.ClientOptions) {
	r.t.Helper()
	user.Addrs = r.cluster.Addrs()
	r.relay, r.halt = startRelayAs(r.t, r.box, user, opts)
}

// master is that of a topic's channel.
func (r *clusterRig) master(topic string) *redistest.Server {
	return r.cluster.MasterOf("{" + channels[topic] + "}")
}

// replica is one of the master of a topic's channel.
func (r *clusterRig) replica(topic string) *redistest.Server {
	return r.cluster.ReplicaOf("{" + channels[topic] + "}")
}

// others are masters that do not have a topic's channel.
func (r *clusterRig) others(topic string) (masters []*redistest.Server) {
	for _, s := range r.cluster.Servers {
		if s != r.master(topic) && s.IsMaster() {
			masters = append(masters, s)
		}
	}
	return masters
}

// subscribe subscribes at one node.
func (r *clusterRig) subscribe(name string, at *redistest.Server) *redistest.Subscriber {
	r.t.Helper()
	sub := redistest.Subscribe(r.t, at.Addr(), redistest.SubscriberOptions{
		Channels: []string{channels[updates], channels[statuses], channels[alerts]}})
	sub.WaitSubscribed(1)
	r.subs[name] = sub
	return sub
}

// follow subscribes to one topic, always at the master of its channel.
func (r *clusterRig) follow(name, topic string) {
	r.t.Helper()
	sub := redistest.Subscribe(r.t, "", redistest.SubscriberOptions{Channels: []string{channels[topic]},
		Resolve: func() string { return r.cluster.AddrOf("{" + channels[topic] + "}") }})
	sub.WaitSubscribed(1)
	r.subs[name], r.only[name] = sub, topic
}

// read starts a reader of the stream of a topic.
func (r *clusterRig) read(topic string) {
	r.t.Helper()
	r.readers[topic] = consumeStream(r.t, r.cluster, topic)
}

// add appends events of one topic.
func (r *clusterRig) add(topic string, n int) {
	r.t.Helper()
	events := make([]outbox.Event, n)
	for i := range events {
		events[i] = newEvent(topic, "an event")
	}
	_, err := r.box.Add(context.Background(), events...)
	require.NoError(r.t, err)
}

func (r *clusterRig) topic(name string) outbox.TopicStats {
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

func (r *clusterRig) health(topic string) relay.TopicHealth { return r.relay.Health().Topics[topic] }

// state waits for a state of a topic.
func (r *clusterRig) state(topic string, want relay.State) {
	r.t.Helper()
	eventually(r.t, topic+" is "+string(want), func() bool { return r.health(topic).State == want })
}

// receivers waits until the relay knows of so many subscribers of a topic.
func (r *clusterRig) receivers(topic string, want int) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%s has %d subscribers", topic, want), func() bool { return r.health(topic).Receivers == want })
}

// flows waits until so many more events of a topic have come out of the Cluster.
func (r *clusterRig) flows(topic string, n int) {
	r.t.Helper()
	sub := r.subs[slices.Sorted(maps.Keys(r.subs))[0]]
	before := len(sub.Messages(channels[topic]))
	eventually(r.t, topic+" flows", func() bool { return len(sub.Messages(channels[topic])) >= before+n })
}

// load has writers append steps until the returned function is called, which waits for them.
func (r *clusterRig) load() (stop func()) {
	r.t.Helper()
	done := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() { appendDuring(r.t, r.box, func() { <-done }) })
	stop = sync.OnceFunc(func() { close(done); writing.Wait() })
	r.t.Cleanup(stop)
	return stop
}

// requireKept holds what everybody has got, at the end, against what was appended.
func (r *clusterRig) requireKept(mayRepeat map[string]bool) {
	r.t.Helper()
	waitEmpty(r.t, r.box)
	h := redistest.History{Appended: committed(r.t, r.box), Subscribers: map[string][]redistest.Event{},
		Streams: map[string][]redistest.StreamEntry{}, Topics: map[string][]string{}, MayRepeat: mayRepeat,
		Status: map[string]redistest.TopicCounts{}}
	require.NotEmpty(r.t, h.Appended)
	for name, sub := range r.subs {
		due := h.Appended
		if topic, ok := r.only[name]; ok {
			h.Topics[name] = []string{topic}
			due = slices.DeleteFunc(slices.Clone(due), func(e redistest.Event) bool { return e.Topic != topic })
		}
		eventually(r.t, "every event has arrived "+name, func() bool { return len(distinct(history(sub))) == len(due) })
		h.Subscribers[name] = history(sub)
	}
	for _, topic := range []string{updates, statuses} {
		name := relay.StreamKey(channels[topic])
		h.Streams[name], h.Topics[name] = redistest.ReadStream(r.t, r.client, name), []string{topic}
		if reader := r.readers[topic]; reader != nil {
			eventually(r.t, "the reader has read "+topic, func() bool { return reader.count() >= len(h.Streams[name]) })
			h.Streams["reader of "+name], h.Topics["reader of "+name] = reader.end(), []string{topic}
		}
		s := r.topic(topic)
		require.Zero(r.t, s.Parked, topic)
		// On a machine so slow that a node has not answered within half a second, its subscribers are not counted.
		delivered := s.Delivered + s.Unheard
		h.Status[topic] = redistest.TopicCounts{Appended: s.Appended, Pending: s.Pending, Delivered: delivered, Parked: s.Parked, Discarded: s.Discarded, Replayed: s.Replayed}
	}
	require.Empty(r.t, h.Check())
	eventually(r.t, "all is well", func() bool { return r.relay.Health().State == relay.Delivering })
	r.halt()
	requireSound(r.t, r.box)
}

// streamReader is relay.Consume at work.
type streamReader struct {
	t      *testing.T
	cancel context.CancelFunc
	done   chan error

	mu      sync.Mutex
	entries []redistest.StreamEntry // guarded by mu
}

func consumeStream(t *testing.T, cluster *redistest.Cluster, topic string) *streamReader {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &streamReader{t: t, cancel: cancel, done: make(chan error, 1)}
	client := relay.NewClient(relay.ClientOptions{Addrs: cluster.Addrs()})
	opts := relay.ConsumeOptions{Channel: channels[topic], Store: &memoryStore{},
		Timeout: time.Second, RetryDelay: 20 * time.Millisecond, RetryMaxDelay: 200 * time.Millisecond,
		Handle: func(_ context.Context, e relay.StreamEvent) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.entries = append(s.entries, redistest.StreamEntry{Topic: e.Topic, MessageID: e.MessageID, Origin: e.Origin, Sequence: e.Sequence})
			return nil
		}}
	go func() {
		s.done <- relay.Consume(ctx, client, opts)
		_ = client.Close()
	}()
	t.Cleanup(func() { s.end() })
	return s
}

// memoryStore is a relay.Store for a reader that is never started again: a file for each event would slow it down.
type memoryStore struct{ position relay.Position }

func (m *memoryStore) Load(context.Context) (relay.Position, error) { return m.position, nil }

func (m *memoryStore) Save(_ context.Context, p relay.Position) error {
	m.position = p
	return nil
}

func (s *streamReader) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}

// end ends the reader and returns what it has handled.
func (s *streamReader) end() []redistest.StreamEntry {
	s.t.Helper()
	if s.cancel != nil {
		s.cancel()
		s.cancel = nil
		require.NoError(s.t, <-s.done)
	}
	return s.entries
}
