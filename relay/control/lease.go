package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/PitchConnect/matchrelay/relay"
)

// DefaultLease is how long a relay that is not heard of keeps the lease.
const DefaultLease = 5 * time.Second

// What the process that has the file asks of the relay that drains it from elsewhere.
const (
	askHealth = "health"
	askPause  = "pause"
	askResume = "resume"
	askRetry  = "retry-now"
)

// leaseLine is a line of the answer to /v1/relay; one field of it is set.
type leaseLine struct {
	Waiting string  `json:"waiting,omitempty"` // for whom: another one has the lease
	Yielded bool    `json:"yielded,omitempty"` // the file goes to a process that wants it
	Lease   uint64  `json:"lease,omitempty"`   // granted
	Seconds float64 `json:"seconds,omitempty"` // with Lease: until it is lost, unless the relay is heard of
	Paused  bool    `json:"paused,omitempty"`  // with Lease: the relay before was
	Wake    bool    `json:"wake,omitempty"`    // something was appended
	Ask     string  `json:"ask,omitempty"`
	Number  uint64  `json:"number,omitempty"` // of the question
}

// report is what a relay tells of itself, at least three times in the time of its lease.
type report struct {
	Health  relay.Health `json:"health"`
	Paused  bool         `json:"paused"`  // by an operator, also when Health says that it does not run just now
	Answers uint64       `json:"answers"` // the question that it answers, or 0
}

// drains is who drains the outbox over the socket: one relay at a time, which has the lease.
//
// Calls of the holder run under a read lock, and the lease changes hands under the write lock: when the next relay has it, no
// call of the one before is under way, and none begins (the number fences it off).
type drains struct {
	mu     sync.RWMutex
	last   uint64                 // guarded by mu: the number of the latest lease; it begins anywhere, for other processes lend the outbox before and after
	holder atomic.Pointer[holder] // changed under mu: nil while nobody drains
	freed  chan struct{}          // guarded by mu: closed when the lease is free again
	paused atomic.Bool            // by an operator, also for the next holder
}

// holder is a relay that has the lease.
type holder struct {
	number  uint64
	name    string
	granted time.Time
	heardOf atomic.Int64 // when it last called, in nanoseconds since granted
	woken   atomic.Bool  // it has been told of events, and has not read since
	asks    chan leaseLine
	gone    chan struct{} // closed when it has the lease no more

	mu      sync.Mutex
	health  relay.Health             // guarded by mu: the latest that it told
	asked   uint64                   // guarded by mu
	answers map[uint64]chan struct{} // guarded by mu: closed when the question is answered
}

// acquire takes the lease if it is free; else it says who has it, and what is closed when it is free.
func (d *drains) acquire(name string) (h *holder, by string, freed <-chan struct{}) {
	d.mu.RLock() // who waits for the write lock keeps the holder from calling
	h, freed = d.holder.Load(), d.freed
	d.mu.RUnlock()
	if h != nil {
		return nil, h.name, freed
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if h := d.holder.Load(); h != nil {
		return nil, h.name, d.freed
	}
	if d.last == 0 {
		d.last = rand.Uint64N(1 << 52)
	}
	d.last++
	h = &holder{number: d.last, name: name, granted: time.Now(), asks: make(chan leaseLine, 16), gone: make(chan struct{}), answers: map[uint64]chan struct{}{},
		health: relay.Health{State: relay.Waiting, Since: time.Now(), Topics: map[string]relay.TopicHealth{}}}
	d.freed = make(chan struct{})
	d.holder.Store(h)
	return h, "", nil
}

// release ends the lease, after the calls that are under way.
func (d *drains) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.holder.Swap(nil).gone)
	close(d.freed)
}

// during runs what the holder of a lease calls for, while the lease is its own: ErrLeaseLost otherwise.
func (d *drains) during(number uint64, call func(*holder) error) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	h := d.holder.Load()
	if h == nil || h.number != number {
		return fmt.Errorf("lease %d: %w", number, ErrLeaseLost)
	}
	h.heardOf.Store(int64(time.Since(h.granted)))
	return call(h)
}

// steer notes what an operator wants of the holder, also for those after it, and returns the holder, or nil. Without one there
// is nothing to pause, but a pause can be ended.
func (d *drains) steer(what string) (h *holder, resumed bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	h = d.holder.Load()
	switch {
	case what == askResume:
		resumed = d.paused.Swap(false)
	case what == askPause && h != nil:
		d.paused.Store(true)
	}
	return h, resumed
}

// ask has the relay do something and tell how it does. A relay that does not answer in time, or has gone, is as it was when it
// last told.
func (h *holder) ask(ctx context.Context, what string, within time.Duration) (health relay.Health, answered bool) {
	h.mu.Lock()
	h.asked++
	number, answer := h.asked, make(chan struct{})
	h.answers[number] = answer
	h.mu.Unlock()
	timer := time.NewTimer(within)
	defer timer.Stop()
	sent := h.asks
	for waiting := true; waiting; {
		select {
		case sent <- leaseLine{Ask: what, Number: number}:
			sent = nil
		case <-answer:
			waiting, answered = false, true
		case <-timer.C:
			waiting = false
		case <-h.gone:
			waiting = false
		case <-ctx.Done():
			waiting = false
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.answers[number] == nil { // the answer came together with what has ended the wait
		answered = true
	}
	delete(h.answers, number)
	return h.health, answered
}

// reported takes note of what the relay tells.
func (h *holder) reported(r report) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.health = r.Health
	if answer := h.answers[r.Answers]; answer != nil {
		close(answer)
		delete(h.answers, r.Answers)
	}
}

// lease answers with the lease, when it is free, and then with what there is to tell the relay, until that is not heard of any
// more. The connection is the lease: when the relay dies, it is free at once.
func (s *server) lease(w http.ResponseWriter, r *http.Request) error {
	name := r.URL.Query().Get("name")
	if len(name) > 200 {
		return invalid("name: expected at most 200 bytes")
	}
	out := json.NewEncoder(w)
	flow := http.NewResponseController(w)
	_ = flow.SetReadDeadline(time.Time{})
	tell := func(l leaseLine) bool {
		_ = flow.SetWriteDeadline(time.Now().Add(s.leaseTime()))
		return out.Encode(l) == nil && flow.Flush() == nil
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	if s.opts.Relay != nil {
		tell(leaseLine{Waiting: "the process that has the file delivers itself"})
		<-r.Context().Done()
		if s.yielding.Load() {
			tell(leaseLine{Yielded: true})
		}
		return nil
	}
	h, by, freed := s.drains.acquire(name)
	for h == nil {
		if !tell(leaseLine{Waiting: by}) {
			return nil
		}
		select {
		case <-freed:
		case <-r.Context().Done():
			return nil
		}
		h, by, freed = s.drains.acquire(name)
	}
	defer s.drains.release()
	s.opts.Logger.Info("a relay drains the outbox over the control socket", "relay", name)
	why := "it is not heard of any more"
	defer func() { s.opts.Logger.Info("a relay has ended draining", "relay", name, "reason", why) }()
	appended := s.opts.Outbox.Appended() // before the relay reads
	if !tell(leaseLine{Lease: h.number, Seconds: s.leaseTime().Seconds(), Paused: s.drains.paused.Load()}) {
		return nil
	}
	expiry := time.NewTimer(s.leaseTime())
	defer expiry.Stop()
	for {
		var line leaseLine
		select {
		case <-r.Context().Done():
			why = "the connection has ended"
			return nil
		case <-expiry.C:
			left := s.leaseTime() - (time.Since(h.granted) - time.Duration(h.heardOf.Load()))
			if left <= 0 {
				return nil
			}
			expiry.Reset(left)
			continue
		case <-appended:
			appended = s.opts.Outbox.Appended()
			if h.woken.Swap(true) {
				continue
			}
			line.Wake = true
		case line = <-h.asks:
		}
		if !tell(line) {
			return nil
		}
	}
}

func (s *server) leaseTime() time.Duration {
	if s.opts.Lease > 0 {
		return s.opts.Lease
	}
	return DefaultLease
}

// steer has the relay do something, wherever it runs.
func (s *server) steer(what string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if own := s.opts.Relay; own != nil {
			obey(own, what)
			respond(w, http.StatusOK, own.Health())
			return nil
		}
		h, resumed := s.drains.steer(what)
		switch {
		case h == nil && resumed:
			respond(w, http.StatusOK, relay.Health{State: relay.NotRunning, Topics: map[string]relay.TopicHealth{}})
			return nil
		case h == nil:
			return fmt.Errorf("%w, and no other process drains its outbox now", ErrNoRelay)
		}
		health, answered := h.ask(r.Context(), what, s.limits.report)
		if !answered {
			return errors.New("the relay that drains the outbox over the control socket has not answered; look at it, or try again")
		}
		respond(w, http.StatusOK, health)
		return nil
	}
}

// obey does what is asked of a relay.
func obey(r *relay.Relay, what string) {
	switch what {
	case askPause:
		r.Pause()
	case askResume:
		r.Resume()
	case askRetry:
		r.RetryNow()
	}
}

// health is that of the relay, wherever it runs, and its name if that is elsewhere; nil when there is none.
func (s *server) health(ctx context.Context) (health *relay.Health, name string) {
	if s.opts.Relay != nil {
		own := s.opts.Relay.Health()
		return &own, ""
	}
	h := s.drains.holder.Load()
	if h == nil {
		return nil, ""
	}
	told, _ := h.ask(ctx, askHealth, s.limits.report)
	return &told, h.name
}
