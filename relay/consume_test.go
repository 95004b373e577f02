package relay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
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
	stop   func() error

	mu  sync.Mutex
	got []relay.StreamEvent // guarded by mu
}

func newReader(t *testing.T, opts redistest.Options) *reader {
	r := &reader{t: t, server: redistest.New(t, opts), store: &memory{}, log: &logged{}}
	r.opts = relay.ConsumeOptions{Channel: "test:news", Store: r.store, Handle: r.handle, Logger: r.log.logger(),
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

// start consumes until halt.
func (r *reader) start() {
	r.startAt(relay.ClientOptions{Addrs: []string{r.server.Addr()}, DialTimeout: time.Second})
}

func (r *reader) startAt(o relay.ClientOptions) {
	r.t.Helper()
	client := relay.NewClient(o)
	ctx, cancel := context.WithCancel(context.Background())
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

// add adds events as the relay does, sequence and message ID alike.
func (r *reader) add(origin string, sequences ...int) {
	r.t.Helper()
	for _, n := range sequences {
		r.addAs("*", origin, n, fmt.Sprint("m-", n))
	}
}

func (r *reader) addAs(entry, origin string, sequence int, messageID string) {
	r.t.Helper()
	args := entryOf("test:news", origin, sequence, messageID, fmt.Sprint("payload ", sequence))
	args.ID = entry
	require.NoError(r.t, r.server.Client().XAdd(context.Background(), args).Err())
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

func TestAReaderCatchesUpAndThenGoesOnLive(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	r.add(originA, 1, 2, 3, 4, 5, 6)
	r.start()
	r.wait(1, 2, 3, 4, 5, 6)
	r.add(originA, 7, 8)
	r.wait(1, 2, 3, 4, 5, 6, 7, 8)
	r.halt()
	r.add(originA, 9)
	r.start() // as another process would
	r.wait(1, 2, 3, 4, 5, 6, 7, 8, 9)
	r.halt()

	e := r.got[8]
	require.Equal(t, e.Position, r.store.position())
	require.Equal(t, relay.Position{Stream: newsStream, EntryID: e.EntryID, Origin: originA, Sequence: 9,
		Handled: []relay.HandledOrigin{{Origin: originA, Sequence: 9}}}, e.Position)
	e.Position, e.EntryID = relay.Position{}, ""
	require.Equal(t, relay.StreamEvent{MessageID: "m-9", Topic: "match_updates", Channel: "test:news", Source: "match-processor",
		Time: time.Date(2026, 7, 1, 12, 0, 0, 123456789, time.UTC), Sequence: 9, Origin: originA, Payload: []byte("payload 9")}, e)
	require.Equal(t, 10, r.store.saves, "one at the start, and one for each event")
	require.Zero(t, r.log.count("level="), "nothing has gone wrong")
}

func TestAPayloadArrivesByteForByte(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	payload := make([]byte, 3<<20)
	for i := range payload {
		payload[i] = byte(i * i >> 3)
	}
	for i := range 6 { // more than one read takes
		args := entryOf("test:news", originA, i+1, "m", string(payload))
		args.Values = append(args.Values.([]any), "dataschema", "https://example.org/s.json")
		require.NoError(t, r.server.Client().XAdd(context.Background(), args).Err())
	}
	r.start()
	r.wait(1, 2, 3, 4, 5, 6)
	r.halt()
	require.Equal(t, payload, r.got[5].Payload)
	require.Equal(t, "https://example.org/s.json", r.got[5].DataSchema)
}

func TestAReaderOfOnlyNewEventsPassesOverWhatIsThere(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	r.add(originB, 7)
	r.add(originA, 1, 2, 3, 4, 5)
	r.opts.OnlyNew = true
	r.start()
	eventually(t, "the first position is saved", func() bool { return r.store.position().EntryID != "" })
	r.add(originA, 6)
	r.wait(6)
	r.halt()
	r.add(originA, 7)
	r.start() // a position is stored now: what was added meanwhile arrives
	r.wait(6, 7)
	r.do("FLUSHALL")
	r.add(originB, 7, 8) // the old ones were passed over, which is not forgotten
	r.wait(6, 7, 8)
}

func TestAReaderOfOnlyNewEventsBeginsBeforeTheStreamIsThere(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	r.opts.OnlyNew = true
	r.start()
	eventually(t, "the first position is saved", func() bool { return r.store.position().Stream != "" })
	r.add(originA, 1)
	r.wait(1)
}

func TestAReplayArrives(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	r.start()
	r.add(originA, 1, 2)
	r.addAs("*", originA, 3, "m-1")
	r.wait(1, 2, 3)
	r.halt()
	require.Equal(t, "m-1", r.got[2].MessageID)
}

func TestWhatWasHandledIsSkippedOfEachOrigin(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	r.start()
	r.add(originA, 1, 5)
	r.add(originB, 3)
	r.add(originA, 5, 1, 6)
	r.add(originB, 2, 4)
	r.wait(1, 5, 3, 6, 4)
	r.halt()
	require.Equal(t, []relay.HandledOrigin{{Origin: originA, Sequence: 6}, {Origin: originB, Sequence: 4}}, r.store.position().Handled)
}

func TestTheErrorOfAHandlerEndsConsumeAtItsEvent(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	r.add(originA, 1, 2, 3)
	broken := errors.New("broken")
	r.opts.Handle = func(ctx context.Context, e relay.StreamEvent) error {
		if e.Sequence == 2 {
			return broken
		}
		return r.handle(ctx, e)
	}
	err := r.consume()
	require.ErrorIs(t, err, broken)
	require.EqualError(t, err, "consume {test:news}:stream: handle event m-2, #2 of "+originA+": broken")
	require.Equal(t, uint64(1), r.store.position().Sequence)
	r.opts.Handle = r.handle
	r.start()
	r.wait(1, 2, 3)
}

func TestTheEndOfTheContextIsNoErrorAndPrompt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		result func(ctx context.Context) error
		saved  uint64
	}{
		{"the handler gives up", context.Cause, 0},
		{"the handler finishes", func(context.Context) error { return nil }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := startedReader(t, redistest.Options{})
			r.add(originA, 1, 2)
			handling := make(chan bool)
			r.opts.Handle = func(ctx context.Context, e relay.StreamEvent) error {
				close(handling) // panics at a second event
				<-ctx.Done()
				return c.result(ctx)
			}
			r.start()
			<-handling
			r.halt()
			require.Equal(t, c.saved, r.store.position().Sequence)
		})
	}
	t.Run("an idle reader", func(t *testing.T) {
		t.Parallel()
		r := startedReader(t, redistest.Options{})
		r.start()
		r.add(originA, 1)
		r.wait(1)
		began := time.Now()
		r.halt()
		require.Less(t, time.Since(began), 5*time.Second, "it is one on an idle machine")
	})
	t.Run("a reader that waits for Redis", func(t *testing.T) {
		t.Parallel()
		r := newReader(t, redistest.Options{})
		r.opts.RetryDelay, r.opts.RetryMaxDelay = time.Hour, time.Hour
		r.start()
		eventually(t, "it is told", func() bool { return r.log.count("cannot read the stream") == 1 })
		r.halt()
	})
}

func TestAStoreThatFailsEndsConsume(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	full := errors.New("disk full")
	r.store.fail = full
	require.ErrorContains(t, r.consume(), "load the position: disk full")
	for _, r.opts.OnlyNew = range []bool{false, true} {
		r.opts.Store = &saveFails{memory{fail: full}, 0}
		require.ErrorContains(t, r.consume(), "save the position: disk full")
	}
	require.Empty(t, r.got, "nothing was handled before")
	r.add(originA, 1)
	r.opts.OnlyNew, r.opts.Store = false, &saveFails{memory{fail: full}, 1}
	require.ErrorIs(t, r.consume(), full)
	require.Equal(t, []int{1}, r.sequences())
}

// saveFails loads nothing, and saves only so often.
type saveFails struct {
	memory
	works int
}

func (*saveFails) Load(context.Context) (relay.Position, error) { return relay.Position{}, nil }

func (s *saveFails) Save(ctx context.Context, p relay.Position) error {
	if s.works--; s.works >= 0 {
		return nil
	}
	return s.memory.Save(ctx, p)
}

func TestWhatConsumeNeeds(t *testing.T) {
	t.Parallel()
	r := newReader(t, redistest.Options{})
	for _, opts := range []relay.ConsumeOptions{
		{Store: r.store, Handle: r.handle}, {Channel: "test:news", Handle: r.handle}, {Channel: "test:news", Store: r.store},
	} {
		require.EqualError(t, relay.Consume(context.Background(), nil, opts), "consume: ConsumeOptions need Channel, Store and Handle")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.NoError(t, relay.Consume(ctx, nil, relay.ConsumeOptions{Channel: "test:news", Store: r.store, Handle: r.handle}), "no logger, no delays")
}

func TestWhatIsNoEventIsToldAndSkipped(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	r.start()
	r.add(originA, 1)
	r.do("XADD", newsStream, "*", "user", "secret")
	r.do("XADD", newsStream, "*", "sequence", "2", "origin", originA)
	r.add(originA, 3)
	r.wait(1, 3)
	r.do("XADD", newsStream, "*", "user", "secret") // the last one that was read stands, even if it is no event
	eventually(t, "it is told", func() bool { return r.log.count("is no event") == 3 })
	r.add(originA, 4)
	r.wait(1, 3, 4)
	r.halt()
	require.Zero(t, r.log.count("secret"))
	require.Zero(t, r.log.count("does not hold"))
}

func TestEntriesThatAreNoEvents(t *testing.T) {
	t.Parallel()
	whole := map[string]any{"id": "m-1", "sequence": "1", "origin": originA, "data": ""}
	e, err := relay.ParseEntry(redis.XMessage{ID: "1-0", Values: whole})
	require.NoError(t, err, "no more is needed")
	require.True(t, e.Time.IsZero())
	for _, c := range []struct {
		field string
		value any
	}{
		{"id", nil}, {"id", ""}, {"sequence", nil}, {"sequence", "0"}, {"sequence", "-1"}, {"sequence", "1e3"}, {"sequence", "9007199254740992"},
		{"origin", nil}, {"origin", ""}, {"data", nil},
	} {
		values := map[string]any{c.field: c.value}
		for field, value := range whole {
			if field != c.field {
				values[field] = value
			}
		}
		_, err := relay.ParseEntry(redis.XMessage{ID: "1-0", Values: values})
		require.ErrorContains(t, err, "entry 1-0 is not an event", "%s %v", c.field, c.value)
	}
}

func TestAPositionKeepsTheOriginsThatWereSeenLast(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	r.add("first", 1)
	r.add("second", 1)
	pipe := r.server.Client().Pipeline()
	for i := range 255 {
		pipe.XAdd(context.Background(), entryOf("test:news", fmt.Sprint("origin ", i), 1, "m", "{}"))
	}
	_, err := pipe.Exec(context.Background())
	require.NoError(t, err)
	r.add("second", 2)
	r.start()
	eventually(t, "all are handled", func() bool { return len(r.sequences()) == 258 })
	r.halt()
	handled := r.store.position().Handled
	require.Len(t, handled, 256)
	require.Equal(t, relay.HandledOrigin{Origin: "second", Sequence: 2}, handled[255])
	require.False(t, slices.ContainsFunc(handled, func(h relay.HandledOrigin) bool { return h.Origin == "first" }))
}
