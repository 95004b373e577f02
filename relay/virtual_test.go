package relay_test

import (
	"context"
	"io"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/bubble"
	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// memoryRedis is a Redis in memory that does as the scripts do, without streams: for tests of how long the relay waits, whose
// time is virtual. It keeps its marks when it dies.
type memoryRedis struct {
	mu        sync.Mutex
	down      bool                   // guarded by mu, like what follows: calls fail
	run       int                    // which process it is
	untold    bool                   // it does not tell which process it is
	blind     bool                   // it does not tell all that is on its way to subscribers
	receivers int                    // of every channel
	marks     map[string]outbox.Mark // by channel and origin
	published []redistest.Event      // repeats too
	onEvents  func()                 // called before events are published
}

// change changes something that a call may read.
func (m *memoryRedis) change(do func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	do()
}

func (m *memoryRedis) kill() { m.change(func() { m.down = true }) }

// start is another process.
func (m *memoryRedis) start() { m.change(func() { m.down, m.run = false, m.run+1 }) }

// cut breaks the network, and heal ends that.
func (m *memoryRedis) cut()  { m.change(func() { m.down = true }) }
func (m *memoryRedis) heal() { m.change(func() { m.down = false }) }

func (m *memoryRedis) subscribers(n int) { m.change(func() { m.receivers = n }) }

// got is what was published to a topic.
func (m *memoryRedis) got(topic string) (events []redistest.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.published {
		if e.Topic == topic {
			events = append(events, e)
		}
	}
	return events
}

func (m *memoryRedis) Load(context.Context) error { return nil }

func (m *memoryRedis) Publish(_ context.Context, batches ...relay.Batch) (replies []relay.Reply, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return nil, io.EOF
	}
	for _, b := range batches {
		reply := m.publish(b)
		if replies = append(replies, reply); reply.Outcome != relay.OK {
			break
		}
	}
	return replies, nil
}

func (m *memoryRedis) publish(b relay.Batch) relay.Reply {
	key := relay.MarkKey(b.Channel, b.Origin)
	reply := relay.Reply{Mark: m.marks[key], Run: strconv.Itoa(m.run), Receivers: m.receivers}
	if m.untold {
		reply.Run = ""
	} else if b.Run != "" && b.Run != reply.Run {
		reply.Outcome = relay.OtherRun
		return reply
	}
	seen := 0
	for i, e := range b.Events {
		if reply.Mark == (outbox.Mark{Sequence: e.Sequence, MessageID: e.MessageID}) {
			seen = i + 1
		}
	}
	switch fresh := b.Events[seen:]; {
	case seen == 0 && reply.Mark != b.Predecessor:
		reply.Outcome = relay.Lost
		return reply
	case len(fresh) > 0 && m.receivers < b.Receivers:
		reply.Outcome = relay.TooFew
		return reply
	case len(fresh) > 0 && m.onEvents != nil:
		m.onEvents()
	}
	for _, e := range b.Events[seen:] {
		m.published = append(m.published, redistest.Event{Topic: topicOf[b.Channel], MessageID: e.MessageID})
		if reply.Published++; m.receivers == 0 {
			reply.Unheard = append(reply.Unheard, e.Sequence)
		}
		reply.Mark = outbox.Mark{Sequence: e.Sequence, MessageID: e.MessageID}
	}
	m.marks[key], reply.Outcome = reply.Mark, relay.OK
	return reply
}

func (m *memoryRedis) Republish(_ context.Context, b relay.Batch) (relay.Reply, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	reply := relay.Reply{Outcome: relay.OK, Run: strconv.Itoa(m.run), Receivers: m.receivers, Published: len(b.Events)}
	switch {
	case m.down:
		return relay.Reply{}, io.EOF
	case b.Run != reply.Run:
		reply.Outcome = relay.OtherRun
		return reply, nil
	}
	if m.receivers < b.Receivers {
		reply.Outcome = relay.TooFew
		return reply, nil
	}
	for _, e := range b.Events {
		m.published = append(m.published, redistest.Event{Topic: topicOf[b.Channel], MessageID: e.MessageID})
		if m.receivers == 0 {
			reply.Unheard = append(reply.Unheard, e.Sequence)
		}
	}
	return reply, nil
}

func (m *memoryRedis) Restore(_ context.Context, p relay.Repair) (relay.Reply, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return relay.Reply{}, io.EOF
	}
	m.marks[relay.MarkKey(p.Channel, p.Origin)] = p.Set.Published
	return relay.Reply{Outcome: relay.OK}, nil
}

func (m *memoryRedis) Newest(context.Context, string, string) ([]relay.Entry, error) {
	return nil, nil
}

func (m *memoryRedis) Stream(context.Context, string) (relay.StreamHealth, error) {
	return relay.StreamHealth{}, io.EOF
}

func (m *memoryRedis) Lives(context.Context, string) bool { return false }

func (m *memoryRedis) Buffers(context.Context) (list []relay.Buffer, all bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return nil, false, io.EOF
	}
	return []relay.Buffer{{Client: "one"}}, !m.blind, nil
}

// virtual is a rig whose Redis is in memory, and whose time passes only while no goroutine has anything to do. The outbox is a real one.
type virtual struct {
	*rig
	redis *memoryRedis
}

// virtually runs a test in virtual time, with one subscriber.
func virtually(t *testing.T, test func(v virtual)) {
	t.Helper()
	require.NoError(t, bubble.WarmUp(t.TempDir()))
	path := filepath.Join(t.TempDir(), "outbox.db")
	synctest.Test(t, func(t *testing.T) {
		v := virtual{&rig{t: t, path: path}, &memoryRedis{receivers: 1, marks: map[string]outbox.Mark{}}}
		v.open()
		t.Cleanup(func() {
			v.halt()
			require.NoError(t, v.box.Close())
		})
		test(v)
	})
	box, err := outbox.Open(path, outbox.Options{})
	require.NoError(t, err)
	report, err := box.Verify(context.Background())
	require.NoError(t, err)
	require.Empty(t, report.Problems)
	require.NoError(t, box.Close())
}

// run runs a relay until halt, and returns when it has nothing to do any more.
func (v virtual) run(opts relay.Options) {
	v.t.Helper()
	v.startTarget(opts, v.redis)
	synctest.Wait()
}

// after lets time pass, and then returns when nothing is left to be done at that time.
func (v virtual) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// state is that of news.
func (v virtual) state() relay.State { return v.relay.Health().Topics["news"].State }

func (v virtual) pending() int { return int(v.topic("news").Pending) }

// soon is more than it takes the relay to notice what has changed: the rest after a failure, and between two looks.
const soon = time.Second

// requireGot wants the events of news to have been published once and in order, but for those that may repeat.
func (v virtual) requireGot(mayRepeat []redistest.Event) {
	v.t.Helper()
	require.Empty(v.t, redistest.Check(v.appended, v.redis.got("news"), mayRepeatOf(mayRepeat)))
}
