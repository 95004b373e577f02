package relay

import (
	"sync"
	"time"
)

// State is what a topic, or the relay as a whole, is doing.
type State string

// States, from the best to the worst.
const (
	Delivering State = "delivering"  // publishing, or nothing to publish
	Waiting    State = "waiting"     // waiting for the subscribers that were there before
	Held       State = "held"        // too few subscribers
	RedisDown  State = "redis_down"  // Redis does not answer, or not as a master that takes writes
	Blocked    State = "blocked"     // needs an operator: rights, memory, or an event that fails by itself
	Paused     State = "paused"      // by an operator: Pause was called
	NotRunning State = "not_running" // Run was not called, or has returned
)

var severity = map[State]int{Delivering: 0, Waiting: 1, Held: 2, RedisDown: 3, Blocked: 4, Paused: 5, NotRunning: 6}

// Health is the relay's state: the worst of its topics'.
type Health struct {
	State     State                  `json:"state"`
	Since     time.Time              `json:"since"`
	LastError string                 `json:"last_error"` // with what to do about it; "" when all is well
	Topics    map[string]TopicHealth `json:"topics"`
}

// TopicHealth is the state of one topic.
type TopicHealth struct {
	State     State     `json:"state"`
	Since     time.Time `json:"since"`
	LastError string    `json:"last_error"`
	Receivers int       `json:"receivers"` // subscribers of its channel when last asked, -1 when that is not known
	// Amnesias is how often Redis was found to have forgotten what it had accepted, and Readded how many events were added to
	// the stream again for that reason, since the relay was made.
	Amnesias int `json:"amnesias"`
	Readded  int `json:"readded"`
	// Stream is nil without streams, and where Redis does not tell.
	Stream *StreamHealth `json:"stream,omitempty"`
}

// laneStatus is what a lane tells the world.
type laneStatus struct {
	mu     sync.Mutex
	health TopicHealth // guarded by mu
	class  Class       // guarded by mu: of the failure behind the state, "" for none
}

// set says whether the state, or the kind of failure behind it, is another one than before.
func (s *laneStatus) set(state State, class Class, lastError string) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.health.State != state {
		s.health.Since, changed = time.Now(), true
	}
	changed = changed || s.class != class
	s.health.State, s.health.LastError, s.class = state, lastError, class
	return changed
}

func (s *laneStatus) setReceivers(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.health.Receivers = n
}

func (s *laneStatus) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.health.Amnesias++
}

func (s *laneStatus) readd(events int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.health.Readded += events
}

func (s *laneStatus) setStream(h *StreamHealth) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.health.Stream = h
}

func (s *laneStatus) get() TopicHealth {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.health
}

// Health tells how the relay does.
func (r *Relay) Health() Health {
	h := Health{State: NotRunning, Topics: map[string]TopicHealth{}}
	worst := -1
	since, paused := r.valve.closedSince()
	for _, l := range r.lanes {
		t := l.status.get()
		if paused && t.State != NotRunning {
			t.State, t.Since, t.LastError = Paused, since, pausedText
		}
		h.Topics[l.topic] = t
		if severity[t.State] > worst {
			worst = severity[t.State]
			h.State, h.Since, h.LastError = t.State, t.Since, t.LastError
		}
	}
	return h
}
