package relay

import "time"

// tail remembers which accepted events a death of Redis could still take: those that it accepted less than tailWindow
// before it was last heard of.
type tail struct{ spans []span }

type span struct {
	from uint64    // first event of the span; it ends where the next begins
	at   time.Time // when Redis's answer came
}

func (t *tail) add(from uint64, at time.Time) { t.spans = append(t.spans, span{from, at}) }

// alive takes note that Redis was alive at a time: the time when a call was sent that it answered.
func (t *tail) alive(at time.Time) {
	for len(t.spans) > 0 && at.Sub(t.spans[0].at) >= tailWindow {
		t.spans = t.spans[1:]
	}
}

// from is the first event of the tail, 0 when there is none.
func (t *tail) from() uint64 {
	if len(t.spans) == 0 {
		return 0
	}
	return t.spans[0].from
}

// safe is when a sign of life would empty the tail.
func (t *tail) safe() time.Time { return t.spans[len(t.spans)-1].at.Add(tailWindow) }
