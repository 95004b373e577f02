package relay

import (
	"context"
	"sync"
	"time"
)

// deadline bounds a call by its size and what it waits for beyond. It outlives the cancellation of ctx: what was sent is
// waited for, so that a clean shutdown settles what Redis accepted; only Abort ends it.
func (r *Redis) deadline(ctx context.Context, size int, more time.Duration) (context.Context, context.CancelFunc) {
	return r.within(ctx, r.limit(size)+more)
}

// limit is how long a call may take at first.
func (r *Redis) limit(size int) time.Duration {
	return r.timeout + time.Duration(size>>20)*time.Second
}

func (r *Redis) within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	follow := context.AfterFunc(r.aborted, cancel)
	return ctx, func() {
		follow()
		cancel()
	}
}

// carry is deadline for a call that may carry events of a channel: one that comes after time-outs has longer. end takes how it
// ended. A call without events says nothing about whether they get through, and never has longer: an outage shows soon.
func (r *Redis) carry(ctx context.Context, channel string, size int, more time.Duration) (_ context.Context, end func(error)) {
	if size == 0 {
		ctx, cancel := r.deadline(ctx, 0, more)
		return ctx, func(error) { cancel() }
	}
	began, limit := time.Now(), r.limit(size)
	ctx, cancel := r.within(ctx, longer(limit, r.timeouts.of(channel))+more)
	return ctx, func(err error) {
		cancel()
		r.timeouts.learn(channel, err, time.Since(began) > limit+more)
	}
}

// longer is the time limit of a call after so many failures in a row, at most four times the first one: for events that are
// large, and connections that are slow.
func longer(limit time.Duration, failures int) time.Duration { return limit << min(failures, 2) }

// timeouts counts how often in a row the calls with events of a channel have timed out.
type timeouts struct {
	mu    sync.Mutex
	count map[string]int // guarded by mu
}

func (t *timeouts) of(channel string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count[channel]
}

// learn takes note of how a call ended. A success that was late changes nothing: the next call would time out at first.
func (t *timeouts) learn(channel string, err error, late bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil && !late:
		delete(t.count, channel)
	case err != nil && isTimeout(err):
		if t.count == nil {
			t.count = map[string]int{}
		}
		t.count[channel]++
	}
}
