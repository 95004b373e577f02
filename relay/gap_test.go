package relay_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/relay/control"
)

func TestGap_EndsConsumeBeforeThePositionMoves(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	r.add(originA, 1, 2)
	r.start()
	r.wait(1, 2)
	r.halt()
	r.add(originA, 3, 4, 7, 9, 12)
	r.do("XTRIM", newsStream, "MAXLEN", 2)
	for range 2 { // it stays there
		err := r.consume()
		require.ErrorIs(t, err, relay.ErrGap)
		var gap *relay.Gap
		require.ErrorAs(t, err, &gap)
		require.Equal(t, relay.Gap{Topic: "match_updates", Origin: originA, After: 2, Last: 7, Before: 9}, *gap)
		require.ErrorContains(t, err, "what follows #2 up to #7 of origin "+originA)
		require.Equal(t, []int{1, 2}, r.sequences())
		require.Equal(t, uint64(2), r.store.position().Sequence)
	}
	r.opts.OnGap = r.bridge
	r.start()
	r.wait(1, 2, 9, 12)
	r.halt()
	require.Len(t, r.gaps, 1)
	r.opts.OnGap = nil
	r.add(originA, 13)
	r.start()
	r.wait(1, 2, 9, 12, 13)
}

func TestGap_ThatTheCallerCannotBridgeEndsConsume(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	r.add(originA, 1, 2, 3)
	r.do("XDEL", newsStream, r.entryOf(2))
	unreachable := errors.New("the outbox cannot be reached")
	r.opts.OnGap = func(context.Context, relay.Gap) error { return unreachable }
	err := r.consume()
	require.ErrorIs(t, err, unreachable)
	require.ErrorIs(t, err, relay.ErrGap)
	require.Equal(t, uint64(1), r.store.position().Sequence, "what was handled before is saved")
	require.Equal(t, []int{1}, r.sequences())
}

// entryOf is the ID of the nth entry.
func (r *reader) entryOf(n int) string {
	r.t.Helper()
	entries, err := r.server.Client().XRange(context.Background(), newsStream, "-", "+").Result()
	require.NoError(r.t, err)
	return entries[n-1].ID
}

func TestGap_IsNoneForAReaderThatBegins(t *testing.T) {
	t.Parallel()
	for name, onlyNew := range map[string]bool{"with the oldest entry": false, "with new ones": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startedReader(t, redistest.Options{})
			r.add(originA, 1, 2, 3)
			r.add(originB, 1, 2, 3)
			r.do("XTRIM", newsStream, "MAXLEN", 1)
			r.opts.OnlyNew = onlyNew
			var want []int
			if !onlyNew {
				want = []int{3}
			}
			r.start()
			eventually(t, "it stands at the end", func() bool { return r.store.position().EntryID != "" })
			r.add(originA, 4) // of which it has seen nothing, for it was trimmed before it began
			r.add(originB, 4)
			r.wait(append(want, 4, 4)...)
		})
	}
}

func TestGap_IsNoneInWhatOlderVersionsAdded(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	r.add(originA, 1)
	r.start()
	r.wait(1)
	for _, n := range []int{3, 5} { // without a predecessor
		require.NoError(t, r.server.Client().XAdd(context.Background(), entryOf("test:news", originA, n, "m", "{}")).Err())
		r.predecessor(originA, n)
	}
	r.add(originA, 6)
	r.wait(1, 3, 5, 6)
}

func TestGap_IsNoneWhereAFreshOriginGoesOn(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	r.add(originA, 1, 2, 3)
	r.start()
	r.wait(1, 2, 3)
	r.halt()
	r.predecessor(originB, 2) // which the stream has of the former origin
	r.add(originB, 3, 4)
	r.start()
	r.wait(1, 2, 3, 3, 4)
	r.do("XTRIM", newsStream, "MAXLEN", 1)
	r.add(originB, 5)
	r.wait(1, 2, 3, 3, 4, 5)
}

func TestGap_MayBeTheUnknownStartOfAnOrigin(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	r.add(originA, 1)
	r.start()
	r.wait(1)
	r.halt()
	r.add(originA, 2)
	r.add(originB, 1, 2, 3)
	r.do("XTRIM", newsStream, "MAXLEN", 1)
	require.ErrorIs(t, r.consume(), relay.ErrGap)
	r.opts.OnGap = r.bridge
	r.start()
	r.wait(1, 3)
	r.add(originA, 3)
	r.wait(1, 3, 3)
	r.halt()
	require.Equal(t, []relay.Gap{{Topic: "match_updates", Origin: originB, Last: 2, Before: 3},
		{Topic: "match_updates", Origin: originA, After: 1, Last: 2, Before: 3}}, r.gaps)
	require.False(t, r.store.position().Overtaken, "it has come to the end")
}

// consuming reads what a relay adds.
func (r *rig) consuming() *reader {
	c := &reader{t: r.t, server: r.server, store: &memory{}, log: &logged{}}
	c.opts.Channel, c.opts.Store, c.opts.Handle, c.opts.Logger = "test:news", c.store, c.handle, c.log.logger()
	c.opts.Timeout, c.opts.RetryDelay, c.opts.RetryMaxDelay = socketTimeout, 10*time.Millisecond, 50*time.Millisecond
	r.t.Cleanup(c.halt)
	return c
}

// waitFor waits until each of the events has arrived, and wants none of them twice.
func (c *reader) waitFor(ids []string) {
	c.t.Helper()
	arrived := func() map[string]int {
		c.mu.Lock()
		defer c.mu.Unlock()
		times := map[string]int{}
		for _, e := range c.got {
			times[e.MessageID]++
		}
		return times
	}
	eventually(c.t, "everything has arrived", func() bool {
		times := arrived()
		for _, id := range ids {
			if times[id] == 0 {
				return false
			}
		}
		return true
	})
	for id, n := range arrived() {
		require.Equal(c.t, 1, n, id)
	}
}

func TestGap_IsNoneWhenRedisForgetsAndTheRelayAddsAllAgain(t *testing.T) {
	t.Parallel()
	for name, forget := range amnesias {
		for _, reads := range []string{"all the time", "before", "after"} {
			t.Run(name+", and the reader reads "+reads, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, redistest.Options{})
				r.server.Start()
				r.start(streaming())
				c := r.consuming()
				if reads != "after" {
					c.start()
				}
				r.addMany("news", 50)
				r.waitDelivered("news")
				if reads == "before" {
					c.waitFor(r.news())
					c.halt()
				}
				forget(r)
				r.addMany("news", 50)
				r.waitDelivered("news")
				if reads != "all the time" {
					c.start()
				}
				c.waitFor(r.news())
				c.halt()
			})
		}
	}
}

func TestGap_IsNoneThroughParkingDiscardingAndSeveralProcessors(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	r.do("CONFIG", "SET", "proto-max-bulk-len", "1mb")
	other := newRig(t, redistest.Options{})
	other.server, other.client = r.server, relay.NewClient(relay.ClientOptions{Addrs: []string{r.server.Addr()}})
	c := r.consuming()
	c.start()
	r.start(streaming())
	other.start(streaming())
	for range 3 {
		r.add("news", 2)
		other.add("news", 3)
		r.addEvent(message("news", string(make([]byte, 2<<20))))
		r.appended = r.appended[:len(r.appended)-1]
		r.add("alerts", 1)
		r.relay.Pause()
		discarded := r.add("news", 2)
		r.appended = r.appended[:len(r.appended)-2]
		_, err := r.box.Discard(context.Background(), discarded, outbox.DiscardOptions{Reason: "test"})
		require.NoError(t, err)
		r.relay.Resume()
		r.add("news", 1)
		r.waitDelivered("news")
		other.waitDelivered("news")
		c.waitFor(append(r.news(), other.news()...))
		r.do("FLUSHALL")
	}
	r.add("news", 1)
	c.waitFor(append(r.news(), other.news()...))
}

func TestGap_IsToldWhenTheRelayTrimsWhatWasNotRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	opts := streaming()
	opts.StreamMaxLen = 100
	r.start(opts)
	c := r.consuming()
	c.opts.OnGap = c.bridge
	c.start()
	r.add("news", 1)
	c.waitFor(r.news())
	c.halt()
	r.addMany("news", 1000)
	r.waitDelivered("news")
	c.start()
	c.waitFor(r.news()[1000:])
	c.halt()
	require.Len(t, c.gaps, 1)
	require.EqualValues(t, 1, c.gaps[0].After)
	require.EqualValues(t, 1001, c.gaps[0].Last+uint64(len(c.got)-1), "each event was handed over, or is in the gap")
	first, err := relay.ParseEntry(r.entries()[0])
	require.NoError(t, err)
	require.Equal(t, first.Sequence, c.gaps[0].Before)
}

func TestGap_IsReadFromTheOutboxInOrderWithThePayloads(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	opts := streaming()
	opts.StreamMaxLen = 100
	listener, err := net.Listen("unix", filepath.Join(filepath.Dir(r.path), "s"))
	require.NoError(t, err)
	served := make(chan error, 1)
	serving, stop := context.WithCancel(context.Background())
	go func() { served <- control.Serve(serving, control.Options{Outbox: r.box, Listener: listener}) }()
	t.Cleanup(func() { stop(); require.NoError(t, <-served) })
	processor, err := control.Dial(listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, processor.Close()) })
	var mu sync.Mutex
	var got []string // guarded by mu
	take := func(payload []byte) error {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, string(payload))
		return nil
	}
	taken := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	}
	c := r.consuming()
	c.opts.Handle = func(_ context.Context, e relay.StreamEvent) error { return take(e.Payload) }
	c.opts.OnGap = func(ctx context.Context, g relay.Gap) error {
		return processor.Missing(ctx, g, func(e outbox.Entry) error { return take(e.Payload) })
	}
	r.start(opts)
	c.start()
	r.add("news", 3)
	eventually(t, "it has read them", func() bool { return len(taken()) == 3 })
	c.halt()
	r.halt()
	given := r.addMany("news", 2)
	discarded := r.addMany("news", 1)
	_, err = r.box.Discard(context.Background(), discarded, outbox.DiscardOptions{Reason: "test"})
	require.NoError(t, err)
	r.start(opts)
	r.add("alerts", 1)
	r.addMany("news", 700)
	r.waitDelivered("news")
	first, err := relay.ParseEntry(r.entries()[0])
	require.NoError(t, err)
	require.Greater(t, first.Sequence, given[1], "the stream was trimmed")
	c.start()
	r.add("news", 1)
	var want []string
	list, err := r.box.List(context.Background(), outbox.Filter{Topic: "news"})
	require.NoError(t, err)
	for _, info := range list {
		if info.State == outbox.Discarded {
			continue
		}
		e, _, err := r.box.Get(context.Background(), info.Sequence)
		require.NoError(t, err)
		want = append(want, string(e.Payload))
	}
	require.Len(t, want, 3+2+700+1)
	eventually(t, "it has read all", func() bool { return len(taken()) >= len(want) })
	c.halt()
	require.Equal(t, want, taken())
}
