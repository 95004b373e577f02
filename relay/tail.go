package relay

import "time"

// tail remembers which accepted events a death of Redis could still take: those that no look at the output buffers has shown to
// have left all of them since, or that it accepted less than sentWithin before it was last heard of (tailWindow, where Redis
// does not tell what is on its way to subscribers); but not those that a subscriber has not read for flowPatience.
type tail struct {
	spans []span
	sent  int64 // bytes that were ever accepted
	seen  sight
}

type span struct {
	from uint64    // first event of the span; it ends where the next begins
	at   time.Time // when Redis's answer came
	end  int64     // sent, with it
}

// sight is what a look at the output buffers has shown.
type sight struct {
	at     time.Time
	sent   int64
	behind int64 // bytes in the fullest one
	blind  bool  // Redis does not tell what is on its way to subscribers, or not all of it
	took   time.Duration
}

func (t *tail) add(from uint64, bytes int64, at time.Time) {
	t.sent += bytes
	t.spans = append(t.spans, span{from, at, t.sent})
}

// due says whether it is time to look at the buffers: something would leave the tail if they are empty.
func (t *tail) due(now time.Time) bool {
	return len(t.spans) > 0 && now.Sub(t.spans[0].at) >= t.window() && now.Sub(t.seen.at) >= t.pace()
}

// see takes note of how many bytes were in the fullest buffer at a time, whether that is all that is on its way, and how long it
// took to find out.
func (t *tail) see(at time.Time, behind int64, all bool, took time.Duration) {
	t.seen = sight{at, t.sent, behind, !all, took}
}

// window is how long after Redis has accepted an event it may still have to be sent to a subscriber that reads.
func (t *tail) window() time.Duration {
	if t.seen.blind {
		return tailWindow
	}
	return sentWithin
}

// pace is the least time between two looks. Where there are many subscribers a look keeps Redis busy: then they are fewer.
func (t *tail) pace() time.Duration {
	if t.seen.blind {
		return time.Second
	}
	return max(lookEvery, min(20*t.seen.took, time.Second))
}

// alive takes note that Redis was alive at a time: the time when a call was sent that it answered. So it is the one whose
// buffers were looked at before, and whatever was not in them any more has left it.
func (t *tail) alive(at time.Time) {
	for len(t.spans) > 0 {
		s := t.spans[0]
		if age := at.Sub(s.at); age < t.window() || age < flowPatience && !s.read(t.seen) {
			return
		}
		t.spans = t.spans[1:]
	}
}

// read says whether every subscriber had been sent the span: what a buffer holds is the latest that was sent.
func (s span) read(seen sight) bool { return s.at.Before(seen.at) && s.end+seen.behind <= seen.sent }

// from is the first event of the tail, 0 when there is none.
func (t *tail) from() uint64 {
	if len(t.spans) == 0 {
		return 0
	}
	return t.spans[0].from
}

// safe is when a look and a sign of life may empty the tail.
func (t *tail) safe() time.Duration {
	return max(t.pace(), time.Until(t.spans[len(t.spans)-1].at.Add(t.window())))
}

// lookedAt says whether the buffers were looked at when the whole tail was old enough: what is left waits for a slow subscriber.
func (t *tail) lookedAt() bool {
	return len(t.spans) == 0 || t.seen.at.Sub(t.spans[len(t.spans)-1].at) >= t.window()
}
