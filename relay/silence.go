package relay

import (
	"fmt"
	"time"
)

// silence is about the subscribers that were there when calls timed out. A network that goes silent resets nothing: Redis goes
// on counting those behind it and sends to them, also when they have given up and will come back over other connections. So for
// RejoinWait from then on, what was sent since stays in the tail, and is published again when a connection shows up that is new.
// moreRounds is how often a tail may be published again for connections that are new though nobody was in doubt for them.
const moreRounds = 8

type silence struct {
	run      string          // of the process that answered last
	timedOut bool            // calls have, since it has answered and the lane was last ready
	known    map[string]bool // the connections at the latest look
	until    time.Time       // zero: nobody is in doubt
	doubted  int             // how many connections are
	from     uint64          // the first event that they may not have got
	due      bool            // it is to be published again
	rounds   int             // how often that was begun: once for each of them, and moreRounds times
	name     string
}

// begin has everybody in doubt who is there now; events up to sent were published.
func (s *silence) begin(now time.Time, wait time.Duration, clients map[string]bool, from, sent uint64) {
	if s.from == 0 {
		s.from = from
	}
	*s = silence{run: s.run, known: s.known, until: now.Add(wait), doubted: len(clients), from: s.from, name: fmt.Sprintf("+%d", now.UnixNano())}
	s.see(now, clients, sent)
}

// see takes note of who is there now.
func (s *silence) see(now time.Time, clients map[string]bool, sent uint64) {
	if now.After(s.until) && !s.due {
		*s = silence{run: s.run, timedOut: s.timedOut}
	}
	for client := range clients {
		if !s.known[client] && s.doubting() && s.from <= sent && s.rounds < s.doubted+moreRounds && !s.due {
			s.due = true
			s.rounds++
		}
	}
	s.known = clients
}

func (s *silence) doubting() bool { return !s.until.IsZero() }

// round tells one time that a tail is published again within a run of Redis from others; "" is that after a death.
func (s *silence) round() string {
	if !s.due {
		return ""
	}
	return fmt.Sprintf("%s.%d", s.name, s.rounds)
}
