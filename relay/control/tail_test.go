package control

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
)

// tailing is a Tail that a test reads.
type tailing struct {
	t      *testing.T
	events chan outbox.Info
	ended  chan error
	stop   context.CancelFunc
}

func (g *rig) tail(f outbox.Filter) *tailing {
	ctx, cancel := context.WithCancel(context.Background())
	tail := &tailing{g.t, make(chan outbox.Info, 1), make(chan error, 1), cancel}
	var running sync.WaitGroup
	running.Go(func() {
		tail.ended <- g.client.Tail(ctx, f, func(info outbox.Info) error {
			select {
			case tail.events <- info:
			case <-ctx.Done():
			}
			return nil
		})
	})
	g.t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return tail
}

func (t *tailing) next() outbox.Info {
	t.t.Helper()
	select {
	case info := <-t.events:
		return info
	case err := <-t.ended:
		require.FailNow(t.t, "the tail ended", "%v", err)
	case <-time.After(redistest.Patience):
		require.FailNow(t.t, "no event came")
	}
	return outbox.Info{}
}

func (t *tailing) end() error {
	t.t.Helper()
	select {
	case err := <-t.ended:
		return err
	case <-time.After(redistest.Patience):
		require.FailNow(t.t, "the tail does not end")
	}
	return nil
}

func (g *rig) add(topic, id string) {
	_, err := g.box.Add(g.t.Context(), outbox.Event{Topic: topic, MessageID: id, Payload: []byte(secret)})
	require.NoError(g.t, err)
}

func TestATailHasWhatIsThereAndThenWhatIsAppended(t *testing.T) {
	g := startFull(t)
	tail := g.tail(outbox.Filter{After: 3})
	require.EqualValues(t, 4, tail.next().Sequence)
	require.EqualValues(t, 5, tail.next().Sequence)
	g.add("match_updates", "message-6")
	info := tail.next()
	require.EqualValues(t, 6, info.Sequence)
	require.Equal(t, "message-6", info.MessageID)
	_, err := g.box.Replay(t.Context(), []uint64{4}, outbox.ReplayOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 4, tail.next().ReplayOf, "a replay is an append")
	tail.stop()
	require.ErrorIs(t, tail.end(), context.Canceled)
}

func TestATailHasOnlyTheEventsOfItsFilter(t *testing.T) {
	g := startFull(t)
	tail := g.tail(outbox.Filter{Topic: "system_alert", After: 5})
	g.add("match_updates", "message-6")
	g.add("system_alert", "message-7")
	require.EqualValues(t, 7, tail.next().Sequence)
	for _, f := range []outbox.Filter{{Limit: 1}, {Through: 1}, {Until: time.Now()}} {
		require.ErrorIs(t, g.client.Tail(t.Context(), f, nil), outbox.ErrInvalid)
	}
}

// TestATailMissesNothingOfABurst has many tails, pages of a few events, and appenders that share commits.
func TestATailMissesNothingOfABurst(t *testing.T) {
	const writers, each = 8, 25
	lim := patient
	lim.page = 3
	g := start(t, openBox(t), nil, lim)
	tails := []*tailing{g.tail(outbox.Filter{}), g.tail(outbox.Filter{}), g.tail(outbox.Filter{})}
	var writing sync.WaitGroup
	for range writers {
		writing.Go(func() {
			for range each {
				if _, err := g.box.Add(t.Context(), outbox.Event{Topic: "system_alert", MessageID: "m", Payload: []byte("x")}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, tail := range tails {
		for want := range uint64(writers * each) {
			require.Equal(t, want+1, tail.next().Sequence)
		}
	}
	writing.Wait()
}

func TestATailOutlastsTheTimeThatOtherAnswersMayStall(t *testing.T) {
	virtually(t, Options{}, standard, func(t *testing.T, v virtual) {
		tail := v.tail(outbox.Filter{})
		for _, id := range []string{"a", "b"} {
			time.Sleep(time.Hour) // longer than any limit
			v.add("system_alert", id)
			require.Equal(t, id, tail.next().MessageID)
		}
		tail.stop()
		require.ErrorIs(t, tail.end(), context.Canceled)
	})
}

func TestATailSaysThatItsProcessHasEnded(t *testing.T) {
	g := startFull(t)
	tail := g.tail(outbox.Filter{After: 4})
	tail.next()
	require.NoError(t, g.stop())
	require.ErrorIs(t, tail.end(), ErrNotRunning)
	require.ErrorIs(t, g.client.Tail(t.Context(), outbox.Filter{}, nil), ErrNotRunning)
}

func TestATailOfAClosedOutboxEnds(t *testing.T) {
	box := openBox(t)
	g := start(t, box, nil, patient)
	require.NoError(t, box.Close())
	require.ErrorIs(t, g.client.Tail(t.Context(), outbox.Filter{}, nil), outbox.ErrClosed)
}
