package relay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

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
	require.EqualValues(t, 8, e.Predecessor)
	e.Predecessor = 0
	require.Equal(t, relay.StreamEvent{MessageID: "m-9", Topic: "match_updates", Channel: "test:news", Source: "match-processor",
		Time: time.Date(2026, 7, 1, 12, 0, 0, 123456789, time.UTC), Sequence: 9, Origin: originA, Payload: []byte("payload 9")}, e)
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
		r.cancel()
		reads := r.calls("xread")
		r.halt()
		require.LessOrEqual(t, r.calls("xread"), reads+1, "only one that is under way is waited for, which takes a second")
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

func TestAnIdleReaderLooksMoreRarelyAtALargeEvent(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	args := entryOf("test:news", originA, 1, "m-1", strings.Repeat("x", 32<<20))
	require.NoError(t, r.server.Client().XAdd(context.Background(), args).Err())
	began := time.Now()
	r.start()
	r.wait(1)
	eventually(t, "it has looked at it", func() bool { return r.calls("xrange") > 0 })
	reads := r.calls("xread")
	eventually(t, "it has been idle for a while", func() bool { return r.calls("xread") >= reads+3 })
	require.LessOrEqual(t, r.calls("xrange"), 1+int(time.Since(began)/(32*time.Second)), "the next look is due in 32 seconds")
}
