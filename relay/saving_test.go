package relay_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

// fill adds n small events of originA at once.
func (r *reader) fill(n int) {
	r.t.Helper()
	pipe := r.server.Client().Pipeline()
	for i := range n {
		pipe.XAdd(context.Background(), entryOf("test:news", originA, i+1, fmt.Sprint("m-", i+1), "{}"))
	}
	_, err := pipe.Exec(context.Background())
	require.NoError(r.t, err)
}

func (m *memory) saved() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.saves
}

func TestSaving_IsDoneAfterSoManyEventsAndAtTheEndOfTheStream(t *testing.T) {
	t.Parallel()
	for every, saves := range map[int]int{1: 1000, 100: 10, 300: 4} {
		t.Run(fmt.Sprint("every ", every), func(t *testing.T) {
			t.Parallel()
			r := startedReader(t, redistest.Options{})
			r.fill(1000)
			r.opts.SaveEvery, r.opts.SaveWithin = every, time.Hour
			r.start()
			eventually(t, "the last is saved", func() bool { return r.store.position().Sequence == 1000 })
			r.halt()
			require.Equal(t, 1+saves, r.store.saved(), "and once at the beginning")
		})
	}
}

func TestSaving_WaitsNoLongerThanItMay(t *testing.T) {
	t.Parallel()
	t.Run("while events are handled", func(t *testing.T) {
		t.Parallel()
		r := startedReader(t, redistest.Options{})
		r.fill(4)
		r.opts.SaveEvery, r.opts.SaveWithin = 1000, time.Nanosecond
		r.opts.Handle = func(ctx context.Context, e relay.StreamEvent) error {
			require.Equal(t, e.Sequence-1, r.store.position().Sequence)
			return r.handle(ctx, e)
		}
		r.start()
		r.wait(1, 2, 3, 4)
	})
	t.Run("while Redis hangs", func(t *testing.T) {
		t.Parallel()
		r := startedReader(t, redistest.Options{})
		r.fill(8) // the first read takes four, and the next one hangs
		r.opts.SaveEvery = 1000
		r.opts.Handle = func(ctx context.Context, e relay.StreamEvent) error {
			if e.Sequence == 4 {
				r.server.Freeze()
			}
			return r.handle(ctx, e)
		}
		r.start()
		eventually(t, "the fourth is saved", func() bool { return r.store.position().Sequence == 4 })
		require.Len(t, r.sequences(), 4)
		r.server.Thaw()
		r.wait(1, 2, 3, 4, 5, 6, 7, 8)
	})
	t.Run("while a read waits for more", func(t *testing.T) {
		t.Parallel()
		r := startedReader(t, redistest.Options{})
		r.fill(4) // as many as the first read asks for
		r.opts.SaveEvery = 1000
		r.start()
		eventually(t, "the fourth is saved", func() bool { return r.store.position().Sequence == 4 })
		r.wait(1, 2, 3, 4)
	})
}

func TestSaving_IsDoneHoweverConsumeEnds(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, end := range map[string]func(r *reader) error{
		"an error of the handler": func(*reader) error { return broken },
		"the end of the context":  func(r *reader) error { r.cancel(); return context.Canceled },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startedReader(t, redistest.Options{})
			r.fill(4)
			r.opts.SaveEvery, r.opts.SaveWithin = 1000, time.Hour
			r.opts.Handle = func(ctx context.Context, e relay.StreamEvent) error {
				if e.Sequence == 4 {
					return end(r)
				}
				return r.handle(ctx, e)
			}
			r.start()
			r.wait(1, 2, 3)
			eventually(t, "the third is saved", func() bool { return r.store.position().Sequence == 3 })
			if err := r.stop(); err != nil {
				require.ErrorIs(t, err, broken)
			}
			r.stop = nil
		})
	}
}

func TestSaving_ThatFailsWhileRedisHangsEndsConsume(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	r.fill(4)
	full := errors.New("disk full")
	r.opts.SaveEvery, r.opts.Store = 1000, &saveFails{memory{fail: full}, 1}
	require.ErrorIs(t, r.consume(), full)
	require.Equal(t, []int{1, 2, 3, 4}, r.sequences())
}

func TestReads_GrowWhileEventsAreSmall(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	r.fill(3000)
	r.opts.SaveWithin = time.Hour
	r.start()
	eventually(t, "all are handled", func() bool { return len(r.sequences()) == 3000 })
	require.Less(t, r.calls("xread"), 60)
	require.Less(t, r.calls("xrange"), 60)
}
