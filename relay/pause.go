package relay

import (
	"context"
	"sync"
	"time"
)

// pausedText is the LastError of a paused relay.
const pausedText = "paused by an operator, events wait in the outbox; go on with: matchrelay resume"

// valve is what an operator closes to pause the relay.
type valve struct {
	mu     sync.Mutex
	opened chan struct{} // guarded by mu: closed when the valve opens; nil while it is open
	since  time.Time     // guarded by mu: when it was closed
}

// Pause stops the publishing of all topics until Resume; what Redis is being given already ends first. Then nothing is sent to
// a channel or a stream, and Redis is not looked after. Events are appended as ever and wait. A pause outlasts every outage
// of Redis, but not the Relay: it is kept in memory only. Pausing twice is pausing once. With Options.UntilEmpty, Run does not
// return while the relay is paused.
func (r *Relay) Pause() {
	r.valve.mu.Lock()
	defer r.valve.mu.Unlock()
	if r.valve.opened == nil {
		r.valve.opened, r.valve.since = make(chan struct{}), time.Now()
		r.opts.Logger.Warn("paused by an operator: nothing is published until the relay is resumed")
		for _, l := range r.lanes {
			l.signal() // it may be idle
		}
	}
}

// Resume ends a pause. A relay that is not paused goes on as it does.
func (r *Relay) Resume() {
	r.valve.mu.Lock()
	defer r.valve.mu.Unlock()
	if r.valve.opened != nil {
		close(r.valve.opened)
		r.valve.opened = nil
		r.opts.Logger.Info("resumed by an operator")
	}
}

// Paused says whether the relay is paused, also before and after Run.
func (r *Relay) Paused() bool { return r.paused() }

// closed returns what closes when the relay is resumed, nil when it is not paused.
func (v *valve) closed() (opened <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.opened
}

// closedSince says whether the relay is paused, and since when.
func (v *valve) closedSince() (since time.Time, closed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.since, v.opened != nil
}

func (r *Relay) paused() bool { return r.valve.closed() != nil }

// rest waits until the relay is resumed. Once after the last event it looks whether Redis has outlived it, as idle does:
// what its subscribers got before the pause must not come again after it, whatever happens to Redis meanwhile.
func (l *lane) rest(ctx context.Context, opened <-chan struct{}) error {
	l.turns, l.heldSince = 0, time.Time{} // nobody waits for subscribers meanwhile
	var outlived <-chan time.Time
	if l.ready && l.tail.from() != 0 {
		timer := time.NewTimer(l.tail.safe())
		defer timer.Stop()
		outlived = timer.C
	}
	select {
	case <-ctx.Done():
		return nil
	case <-opened:
		return nil
	case <-outlived:
	}
	reply, err := l.call(ctx, l.batch())
	if err != nil {
		return err
	}
	if reply.Outcome != OK { // to be looked into when the relay is resumed
		l.ready = false
		return nil
	}
	return l.settle(ctx)
}
