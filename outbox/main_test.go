package outbox

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
	"go.uber.org/goleak"
)

// childEnv makes a re-executed test binary run one of children instead of the tests.
const childEnv = "OUTBOX_TEST_CHILD"

var children = map[string]func(args []string) error{}

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		if err := children[name](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

var ctx = context.Background()

// patience is how long a test waits for what must happen.
const patience = time.Minute

// clock is a clock that a test moves on.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2025, 9, 21, 10, 30, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// openTemp opens a new outbox. When the test has ended, the file is opened once more and must verify.
func openTemp(t testing.TB, opts Options) *Outbox {
	t.Helper()
	path := filepath.Join(t.TempDir(), "outbox.db")
	t.Cleanup(func() { requireSound(t, path) })
	return openAt(t, path, opts)
}

// openAt opens an outbox that is closed when the test has ended.
func openAt(t testing.TB, path string, opts Options) *Outbox {
	t.Helper()
	o, err := Open(path, opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = o.Close() })
	return o
}

// reopen closes an outbox and opens its file again.
func reopen(t testing.TB, o *Outbox) *Outbox {
	t.Helper()
	require.NoError(t, o.Close())
	return openAt(t, o.Path(), o.opts)
}

func requireSound(t testing.TB, path string) {
	t.Helper()
	o, err := Open(path, Options{MustExist: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, o.Close()) }()
	requireClean(t, o)
}

func requireClean(t testing.TB, o *Outbox) {
	t.Helper()
	report, err := o.Verify(ctx)
	require.NoError(t, err)
	require.Empty(t, report.Problems)
}

// event makes an event whose message ID is its payload's beginning.
func event(topic, id string) Event {
	return Event{Topic: topic, MessageID: id, Payload: []byte(id + " payload")}
}

func events(topic string, ids ...string) []Event {
	list := make([]Event, len(ids))
	for i, id := range ids {
		list[i] = event(topic, id)
	}
	return list
}

func add(t testing.TB, o *Outbox, events ...Event) []uint64 {
	t.Helper()
	sequences, err := o.Add(ctx, events...)
	require.NoError(t, err)
	return sequences
}

// settle takes note of a receipt and writes it.
func settle(t testing.TB, o *Outbox, topic string, through uint64, unheard ...uint64) {
	t.Helper()
	origin, err := o.Position(ctx, topic)
	require.NoError(t, err)
	require.NoError(t, o.Settle(ctx, Receipt{Topic: topic, Through: through, Unheard: unheard, Origin: origin.Origin}))
	require.NoError(t, o.Flush(ctx))
}

func topicStats(t testing.TB, o *Outbox, topic string) TopicStats {
	t.Helper()
	stats, err := o.Stats(ctx)
	require.NoError(t, err)
	for _, s := range stats.Topics {
		if s.Topic == topic {
			return s
		}
	}
	return TopicStats{Topic: topic}
}

// states lists "sequence state message-ID" of every event.
func states(t testing.TB, o *Outbox) []string {
	t.Helper()
	list, err := o.List(ctx, Filter{})
	require.NoError(t, err)
	lines := []string{}
	for _, info := range list {
		lines = append(lines, fmt.Sprintf("%d %s %s", info.Sequence, info.State, info.MessageID))
	}
	return lines
}

// ids lists the message IDs in the log, in order.
func ids(t testing.TB, o *Outbox) []string {
	t.Helper()
	list := []string{}
	for _, line := range states(t, o) {
		list = append(list, strings.Fields(line)[2])
	}
	return list
}

// putState writes a key of the processor's own state.
func putState(tx *bolt.Tx, key string) error {
	b, err := tx.CreateBucketIfNotExists([]byte("state"))
	if err != nil {
		return err
	}
	return b.Put([]byte(key), []byte("x"))
}

func stateKeys(t testing.TB, o *Outbox) (keys []string) {
	t.Helper()
	require.NoError(t, o.View(func(tx *bolt.Tx) error {
		if b := tx.Bucket([]byte("state")); b != nil {
			return b.ForEach(func(k, _ []byte) error { keys = append(keys, string(k)); return nil })
		}
		return nil
	}))
	return keys
}

// holdCommit starts an Update that stays in its closure until release is called; release returns its error.
func holdCommit(t testing.TB, o *Outbox) (release func() error) {
	t.Helper()
	entered, leave, result := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		result <- o.Update(ctx, func(*bolt.Tx) error {
			close(entered)
			<-leave
			return nil
		})
	}()
	<-entered
	return func() error { close(leave); return <-result }
}

// requireQueued waits until n callers wait for the next commit.
func requireQueued(t testing.TB, o *Outbox, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return queued(o) == n }, patience, time.Millisecond)
}

func queued(o *Outbox) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queue)
}
