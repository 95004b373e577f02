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

// Pause stops the publishing of all topics until Resume; what Redis is being given already ends first, as long as one call
// takes. Redis is still looked after, nothing is sent to a channel or a stream. Events are appended as ever and wait. A pause
// outlasts every outage of Redis, but not the Relay: it is kept in memory only. Pausing twice is pausing once. With
// Options.UntilEmpty, Run does not return while the relay is paused.
func (r *Relay) Pause() {
	r.valve.mu.Lock()
	defer r.valve.mu.Unlock()
	if r.valve.opened == nil {
		r.valve.opened, r.valve.since = make(chan struct{}), time.Now()
		r.opts.Logger.Warn("paused by an operator: nothing is published until the relay is resumed")
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

// closed says whether the relay is paused, since when, and what closes when it is resumed.
func (v *valve) closed() (opened <-chan struct{}, since time.Time, closed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.opened, v.since, v.opened != nil
}

func (r *Relay) paused() bool {
	_, _, closed := r.valve.closed()
	return closed
}

// pass waits until the valve is open, or ctx ends.
func (v *valve) pass(ctx context.Context) {
	for {
		opened, _, closed := v.closed()
		if !closed {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-opened:
		}
	}
}
