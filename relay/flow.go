package relay

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// flowPatience is how long a subscriber may read nothing at all before the others are not kept waiting for it any more:
	// Redis itself disconnects one that stays over 8 MB for as long.
	flowPatience = 60 * time.Second
	// expressBytes is what a topic may send past the others' backlog: an alert need not wait for it.
	expressBytes = 256 << 10
	// flowPause is between two looks at a buffer that is too full: the first one, and the longest.
	flowPause, flowPauseMax = time.Millisecond, 50 * time.Millisecond
)

// flow keeps what all topics send together from filling the subscribers' output buffers in Redis, which disconnects one whose
// buffer is over client-output-buffer-limit pubsub. After every limit bytes it looks at the fullest buffer, and waits
// while that, and what is on its way, are more than limit: so no buffer gets over twice the limit, a single larger event apart.
// Where Redis does not tell, it sends at a fixed pace.
type flow struct {
	target Target
	limit  int64 // bytes; less than 1 turns flow control off
	pace   int64 // bytes per second
	log    *slog.Logger
	turn   chan struct{} // holds a token while somebody uses what is below

	flying atomic.Int64 // of calls that are not answered yet: not in the buffers, or not yet
	sent   int64        // since the last look
	blind  bool         // Redis does not tell: pace
	warned bool         // of that
	free   time.Time    // blind: when everything sent so far is paid for

	mu      sync.Mutex
	waiting map[string]*laggard // guarded by mu
}

// laggard is a subscriber whose buffer is too full.
type laggard struct {
	least int64     // bytes that it was seen to have
	since time.Time // when that was
	given bool      // up: nobody waits for it
}

func newFlow(target Target, opts Options) *flow {
	return &flow{target: target, limit: int64(opts.MaxBuffer), pace: int64(opts.BytesPerSecond), log: opts.Logger,
		turn: make(chan struct{}, 1), waiting: map[string]*laggard{}}
}

// take waits until size bytes more may be sent, or ctx ends; done is to be called when the call that sends them has been
// answered. express is what the topic has sent since it last waited its turn; told is called when the wait takes longer than
// a moment, with the reason. The error is Redis's.
func (f *flow) take(ctx context.Context, size int64, express *int64, told func(reason string)) (done func(), err error) {
	if f.limit <= 0 {
		return func() {}, nil
	}
	if *express+size <= expressBytes {
		*express += size
		return func() {}, nil
	}
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return func() {}, nil
	}
	whole := size + *express
	*express = 0
	switch {
	case f.sent+whole <= f.limit:
		f.sent += whole
	case f.blind:
		f.paced(ctx, whole, told)
	default:
		err = f.look(ctx, whole, told)
	}
	f.flying.Add(size)
	return func() { f.flying.Add(-size) }, err
}

// look waits until every buffer is below the limit, with what is on its way to it.
func (f *flow) look(ctx context.Context, size int64, told func(string)) error {
	for pause, began := flowPause, time.Now(); ctx.Err() == nil; pause = min(2*pause, flowPauseMax) {
		buffers, _, err := f.target.Buffers(ctx)
		if err != nil {
			if !untold(err) {
				return classify(err)
			}
			if f.blind = true; !f.warned {
				f.warned = true
				f.log.Warn("Redis does not tell how far behind subscribers are: sending at a fixed pace", "bytes_per_second", f.pace, "error", err,
					"mend", "give the Redis user +client|list, or set RELAY_MAX_BYTES_PER_SECOND to what the slowest subscriber reads")
			}
			f.paced(ctx, size, told)
			return nil
		}
		slowest := f.slowest(buffers)
		if slowest.Bytes+f.flying.Load() <= f.limit {
			f.sent = size
			return nil
		}
		if time.Since(began) > time.Second && slowest.Bytes > 0 {
			told(fmt.Sprintf("waits for the subscriber at %s to read: %d bytes are in its output buffer", slowest.Client, slowest.Bytes))
		}
		sleep(ctx, pause)
	}
	return nil
}

// untold says whether an error of Buffers means that Redis does not tell: it refuses the question, in words known or not, or gives
// an answer that cannot be one.
func untold(err error) bool {
	f := classify(err)
	return Forbidden(err) || f.mend == mendCommands || f.mend == mendStrange || f.suspect && !isClosed(err)
}

// behind is how many bytes are in the fullest buffer, 0 where Redis does not tell, and whether that is all that is on its way
// to subscribers: where there are receivers, there are buffers. Those who were given up do not count.
func (f *flow) behind(ctx context.Context, receivers int) (bytes int64, all bool, err error) {
	buffers, all, err := f.target.Buffers(ctx)
	if err != nil && !untold(err) {
		return 0, false, classify(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range buffers {
		if l := f.waiting[b.Client]; l == nil || !l.given {
			bytes = max(bytes, b.Bytes)
		}
	}
	return bytes, all && err == nil && (len(buffers) > 0 || receivers <= 0), nil
}

// slowest returns the fullest buffer, but for those that have not become emptier for a long time: their subscribers read
// nothing, or others fill them, whose subscribers Redis lists as well.
func (f *flow) slowest(buffers []Buffer) (slowest Buffer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	still := map[string]*laggard{}
	for _, b := range buffers {
		if b.Bytes <= f.limit {
			continue
		}
		l := f.waiting[b.Client]
		switch {
		case l == nil:
			l = &laggard{least: b.Bytes, since: now}
		case b.Bytes < l.least:
			l.least, l.since, l.given = b.Bytes, now, false
		case !l.given && now.Sub(l.since) > flowPatience:
			l.given = true
			f.log.Warn("a subscriber reads nothing, or less than others send it; nobody is kept waiting for it any longer, and Redis may disconnect it",
				"subscriber", b.Client, "buffer_bytes", b.Bytes, "for", flowPatience)
		}
		if still[b.Client] = l; !l.given && b.Bytes > slowest.Bytes {
			slowest = b
		}
	}
	f.waiting = still
	return slowest
}

// paced waits until the bytes sent before are paid for, but for a burst of limit.
func (f *flow) paced(ctx context.Context, size int64, told func(string)) {
	worth := func(bytes int64) time.Duration {
		return time.Duration(float64(bytes) / float64(f.pace) * float64(time.Second))
	}
	if earliest := time.Now().Add(-worth(f.limit)); f.free.Before(earliest) {
		f.free = earliest
	}
	f.free = f.free.Add(worth(size))
	if wait := time.Until(f.free); wait > 0 {
		if wait > time.Second {
			told("sends at a fixed pace (RELAY_MAX_BYTES_PER_SECOND): Redis does not tell how far behind subscribers are")
		}
		sleep(ctx, wait)
	}
}

// again asks for the buffers anew after a failure: rights may have been given. Whoever has the turn has asked just now.
func (f *flow) again() {
	select {
	case f.turn <- struct{}{}:
		f.blind = false
		<-f.turn
	default:
	}
}

// sleep returns after d, or when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
