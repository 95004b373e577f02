package relay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

const (
	newsStream = "{test:news}:stream"
	originA    = "7f3cf7c5-3a8c-4b8e-a0e4-8f7f0c6f2c01"
	originB    = "7f3cf7c5-3a8c-4b8e-a0e4-8f7f0c6f2c02"
)

// memory is a store that a test looks into.
type memory struct {
	mu    sync.Mutex
	p     relay.Position // guarded by mu
	saves int            // guarded by mu
	fail  error          // guarded by mu
}

func (m *memory) Load(context.Context) (relay.Position, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.p, m.fail
}

func (m *memory) Save(_ context.Context, p relay.Position) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail == nil {
		m.p = p
		m.saves++
	}
	return m.fail
}

func (m *memory) position() relay.Position {
	p, _ := m.Load(context.Background())
	return p
}

// reader is a redis-server with a stream, and a Consume that can be started and stopped.
type reader struct {
	t      *testing.T
	server *redistest.Server
	opts   relay.ConsumeOptions
	store  *memory
	log    *logged
	logs   map[string][]int   // what was added of each origin, in the order of sequences
	cancel context.CancelFunc // what stop does first
	stop   func() error

	mu   sync.Mutex
	got  []relay.StreamEvent // guarded by mu
	gaps []relay.Gap         // guarded by mu; see bridge
}

func newReader(t *testing.T, opts redistest.Options) *reader {
	r := &reader{t: t, server: redistest.New(t, opts), store: &memory{}, log: &logged{}, logs: map[string][]int{}}
	r.opts = relay.ConsumeOptions{Channel: "test:news", Store: r.store, Handle: r.handle, Logger: r.log.logger(), Timeout: socketTimeout,
		RetryDelay: 10 * time.Millisecond, RetryMaxDelay: 50 * time.Millisecond}
	t.Cleanup(r.halt)
	return r
}

func startedReader(t *testing.T, opts redistest.Options) *reader {
	r := newReader(t, opts)
	r.server.Start()
	return r
}

func (r *reader) handle(_ context.Context, e relay.StreamEvent) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, e)
	return nil
}

// bridge is an OnGap that takes note of a gap and goes on.
func (r *reader) bridge(_ context.Context, g relay.Gap) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gaps = append(r.gaps, g)
	return nil
}

// start consumes until halt.
func (r *reader) start() {
	r.startAt(relay.ClientOptions{Addrs: []string{r.server.Addr()}, DialTimeout: socketTimeout})
}

func (r *reader) startAt(o relay.ClientOptions) {
	r.t.Helper()
	client := relay.NewClient(o)
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	done := make(chan error, 1)
	go func() { done <- errors.Join(relay.Consume(ctx, client, r.opts), client.Close()) }()
	r.stop = func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(redistest.Patience):
			return errors.New("Consume does not stop")
		}
	}
}

func (r *reader) halt() {
	r.t.Helper()
	if r.stop != nil {
		require.NoError(r.t, r.stop())
		r.stop = nil
	}
}

// consume runs Consume until it ends by itself.
func (r *reader) consume() error {
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{r.server.Addr()}})
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), redistest.Patience)
	defer cancel()
	return relay.Consume(ctx, client, r.opts)
}

// add adds events as the relay does, sequence and message ID alike. Without OnGap a gap fails the test.
func (r *reader) add(origin string, sequences ...int) {
	r.t.Helper()
	for _, n := range sequences {
		r.addAs("*", origin, n, fmt.Sprint("m-", n))
	}
}

func (r *reader) addAs(entry, origin string, sequence int, messageID string) {
	r.t.Helper()
	args := entryOf("test:news", origin, sequence, messageID, fmt.Sprint("payload ", sequence))
	args.ID, args.Values = entry, append(args.Values.([]any), "predecessor", r.predecessor(origin, sequence))
	require.NoError(r.t, r.server.Client().XAdd(context.Background(), args).Err())
}

// predecessor is the event before one in the log of an origin, to which it is added unless it is there.
func (r *reader) predecessor(origin string, sequence int) int {
	i, found := slices.BinarySearch(r.logs[origin], sequence)
	if !found {
		r.logs[origin] = slices.Insert(r.logs[origin], i, sequence)
	}
	if i == 0 {
		return 0
	}
	return r.logs[origin][i-1]
}

func (r *reader) do(args ...any) {
	r.t.Helper()
	require.NoError(r.t, r.server.Client().Do(context.Background(), args...).Err())
}

func (r *reader) sequences() (sequences []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.got {
		sequences = append(sequences, int(e.Sequence))
	}
	return sequences
}

// wait waits for the sequences that were handed over since the test began.
func (r *reader) wait(want ...int) {
	r.t.Helper()
	eventually(r.t, fmt.Sprint("handed over: ", want), func() bool { return len(r.sequences()) >= len(want) })
	require.Equal(r.t, want, r.sequences())
}

// calls is how often the server has run a command.
func (r *reader) calls(command string) (n int) {
	r.t.Helper()
	stats, err := r.server.Client().Info(context.Background(), "commandstats").Result()
	require.NoError(r.t, err)
	for line := range strings.Lines(stats) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_"+command+":calls="); ok {
			_, err := fmt.Sscanf(rest, "%d,", &n)
			require.NoError(r.t, err)
		}
	}
	return n
}
