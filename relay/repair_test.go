package relay_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestFailuresWhileRedisIsAskedWhatTheStreamHolds(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	front := r.front()
	var asked atomic.Int64
	front.newest = func(next func() ([]relay.Entry, error)) ([]relay.Entry, error) {
		if asked.Add(1) <= 3 {
			return nil, errors.New("cut off")
		}
		return next()
	}
	r.startTarget(streaming(), front)
	r.add("news", 5)
	sub.WaitFor(5)
	r.waitDelivered("news")
	r.do("DEL", r.markKey())
	r.add("news", 5)
	r.waitDelivered("news")
	r.requireStream(r.news())
	r.requireComplete(sub, nil)
	require.Greater(t, asked.Load(), int64(3))
}

func TestAStreamThatOthersHaveFilledIsSearchedForOurOwnEvents(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	r.start(streaming())
	r.add("news", 5)
	r.waitDelivered("news")
	r.halt()
	fill := r.server.Client().Pipeline()
	for i := range 450 { // more than one call looks at
		fill.Do(context.Background(), "XADD", newsStream, "*", "origin", "another", "sequence", i+1, "id", fmt.Sprint("other ", i))
	}
	_, err := fill.Exec(context.Background())
	require.NoError(t, err)
	for range 3 {
		r.do("XADD", newsStream, "*", "origin", "another", "sequence", 1000, "id", "large", "data", strings.Repeat("x", 1<<20))
	}
	r.do("XADD", newsStream, "*", "something", "else")
	r.do("XADD", newsStream, "*", "origin", r.origin(), "sequence", "many", "id", "no number")
	r.do("DEL", r.markKey())
	r.start(streaming())
	r.add("news", 5)
	r.waitDelivered("news")
	own := 0
	for _, e := range r.entries() {
		if e.Values["origin"] == r.origin() && e.Values["type"] == "news" {
			require.Equal(t, r.news()[own], e.Values["id"])
			own++
		}
	}
	require.Equal(t, 10, own, "each once")
	require.Zero(t, r.relay.Health().Topics["news"].Readded)
}

func TestTheEndOfARelayInTheMiddleOfARepairLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	r.start(streaming())
	r.addMany("news", 1000)
	r.waitDelivered("news")
	r.halt()
	r.do("FLUSHALL")
	front := r.front()
	ctx, stop := context.WithCancel(context.Background())
	front.restore = func(next func() (relay.Reply, error)) (relay.Reply, error) {
		stop()
		return next()
	}
	require.NoError(t, relay.New(r.box, front, streaming()).Run(ctx))
	require.Len(t, r.entries(), 200, "one step, and no other")
	r.start(streaming())
	r.add("news", 1)
	r.waitDelivered("news")
	r.requireStream(r.news())
}

// fullDisk is an outbox on a disk that is full: what is settled stays in memory, and is forgotten with the process.
type fullDisk struct{ *outbox.Outbox }

func (fullDisk) Settle(context.Context, outbox.Receipt) error { return nil }
func (fullDisk) Flush(context.Context) error                  { return outbox.ErrDiskFull }

func TestRepair_LowersNoMarkBeyondWhatTheFileKnows(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	front := r.front()
	begun, killed := make(chan struct{}), make(chan struct{})
	var steps atomic.Int64
	front.restore = func(next func() (relay.Reply, error)) (relay.Reply, error) {
		switch steps.Add(1) {
		case 1:
			return next()
		case 2:
			close(begun)
		}
		<-killed
		return relay.Reply{}, errors.New("killed")
	}
	r.startBetween(streaming(), fullDisk{r.box}, front)
	r.addMany("news", 600)
	sub.WaitFor(600)
	require.Zero(t, r.topic("news").Cursor, "nothing of it is in the file")
	r.do("DEL", newsStream)
	eventually(t, "the relay repairs it, or waits for room on the disk", func() bool {
		select {
		case <-begun:
			return true
		default:
			h := r.relay.Health().Topics["news"]
			return h.State == relay.Blocked && strings.Contains(h.LastError, "no space")
		}
	})
	close(killed)
	r.halt()
	r.start(streaming()) // and there is room
	r.add("news", 1)
	r.waitDelivered("news")
	r.requireComplete(sub, nil)
	r.requireStream(r.news())
}

func TestAnOutboxThatFailsWhileAStreamIsRepaired(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method  string
		prepare func(r *rig)
		hook    func(front *target, fail func())
	}{
		"when the newest entry is looked up": {"MessageID", (*rig).amnesia, func(front *target, fail func()) {
			front.newest = func(func() ([]relay.Entry, error)) ([]relay.Entry, error) {
				fail()
				return []relay.Entry{{ID: "1-1", Origin: "any", Mark: outbox.Mark{Sequence: 1, MessageID: "x"}}}, nil
			}
		}},
		"when what is missing is read": {"Read", (*rig).amnesia, func(front *target, fail func()) {
			front.newest = func(next func() ([]relay.Entry, error)) ([]relay.Entry, error) {
				fail()
				return next()
			}
		}},
		"when a fresh origin looks for what it inherits": {"Position", func(r *rig) {
			_, err := r.box.NewOrigin(context.Background(), r.origin())
			require.NoError(r.t, err)
		}, func(front *target, fail func()) {
			front.publish = func(next func() ([]relay.Reply, error), _ []relay.Batch) ([]relay.Reply, error) {
				fail()
				return next()
			}
		}},
		"when the stream is ahead of what was published": {"MessageID", func(r *rig) {
			r.amnesia()
			r.do("HSET", r.markKey(), "seq", 1, "id", r.appended[0].MessageID, "stream_seq", 77, "stream_id", "x")
			r.do("XADD", newsStream, "*", "a", "b")
		}, func(_ *target, fail func()) { fail() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{})
			r.server.Start()
			r.add("news", 1)
			c.prepare(r)
			source := failing(r.box, c.method, outbox.ErrFailed, 0) // not yet
			front := r.front()
			c.hook(front, func() { source.failNow(c.method) })
			require.ErrorIs(t, relay.New(source, front, streaming()).Run(context.Background()), outbox.ErrFailed)
		})
	}
}

func TestRedisForgetsAgainWhileItsSubscribersAreWaitedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{Persistence: redistest.AOF})
	r.server.Start()
	sub, away := r.subscribeAbsent()
	r.start(streaming())
	r.add("news", 5)
	sub.WaitFor(5)
	r.waitOutlived()
	away.Store(true)
	r.server.Kill()
	r.server.Start()
	r.waitRejoin("0 of 1")
	r.do("FLUSHALL")
	r.add("news", 5)
	away.Store(false)
	sub.WaitSubscribed(2)
	r.waitDelivered("news")
	r.requireStream(r.news())
	r.requireComplete(sub, nil)
}

func TestATopicTellsThatItWaitsForASlowSubscriberAndGoesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{Config: []string{patientBuffers}})
	r.server.Start()
	sub, read := r.subscribeStuck()
	front := r.front()
	var looks atomic.Int64
	front.buffers = func(next func() ([]relay.Buffer, error)) ([]relay.Buffer, error) {
		if looks.Add(1) == 1 {
			return nil, errors.New("cut off")
		}
		return next()
	}
	for range 5 { // more than the kernel buffers
		r.addEvent(message("news", strings.Repeat("x", 2<<20)))
	}
	opts := quick()
	opts.MaxBuffer = 1 << 20
	r.startTarget(opts, front)
	eventually(t, "it is told", func() bool {
		h := r.relay.Health().Topics["news"]
		return h.State == relay.Waiting && strings.Contains(h.LastError, "waits for the subscriber at 127.0.0.1:")
	})
	read()
	r.waitDelivered("news")
	eventually(t, "it delivers", func() bool { return r.relay.Health().State == relay.Delivering })
	r.requireComplete(sub, nil)
	require.Equal(t, 1, sub.Connections())
	require.Zero(t, r.topic("news").Parked)
}
