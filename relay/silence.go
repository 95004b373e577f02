package relay

import (
	"context"
	"slices"
	"time"
)

// silence is what follows when calls have timed out, of whatever topic. The network may have gone silent, which resets no
// connection: then Redis counts subscribers that have given up theirs, and publishes to them. So from the first answer on, and for
// RejoinWait, nothing leaves the tail, it is published again when connections are new, and it stays what it was how many subscribers
// are to be waited for.
type silence struct {
	timeouts uint64          // Relay.timeouts when Redis last answered
	answered time.Time       // when that call was sent
	from     time.Time       // connections since then are new
	met      map[string]bool // but these, by their addresses: the tail was published again after they were seen, if need be
	until    time.Time       // the end; zero: there was no silence, or it is over
	next     time.Time       // when to look for new connections
	pace     time.Duration
	longer   int // how often it was made longer, by calls that timed out meanwhile
}

const (
	silencePace    = time.Second // until the first look; each later one takes twice as long
	silenceLongest = 3           // how often a silence is made longer
)

func (s *silence) open() bool { return !s.until.IsZero() }

func (s *silence) due(now time.Time) bool { return s.open() && !now.Before(s.next) }

// answeredAfter takes note of an answer to a call that was sent at a time: were there time-outs before it?
func (l *lane) answeredAfter(at time.Time) {
	s, before, timeouts, wait := &l.silence, l.silence.answered, l.r.timeouts.Load(), l.r.opts.RejoinWait
	if s.answered = at; timeouts == s.timeouts || wait <= 0 {
		return
	}
	s.timeouts = timeouts
	if s.longer++; !s.open() || s.longer > silenceLongest {
		s.from, s.met, s.longer = before, map[string]bool{}, 0
		if l.tail.alive(before); l.tail.from() == 0 && (l.fresh || !l.outage) { // nothing can have been sent to who was there
			s.from = at
		}
	}
	now := time.Now()
	s.until, s.pace, s.next = now.Add(wait), silencePace, now.Add(min(silencePace, wait))
}

// news says whether connections are new.
func (s *silence) news(now time.Time, list []Buffer) bool {
	return slices.ContainsFunc(list, func(b Buffer) bool {
		return b.Age >= 0 && b.Age-time.Second < now.Sub(s.from) && !s.met[b.Client] // it is told in seconds
	})
}

// meet takes note of connections that have got the tail.
func (s *silence) meet(list []Buffer) {
	for _, b := range list {
		s.met[b.Client] = true
	}
}

// subscribers lists their connections, none where Redis does not tell.
func (l *lane) subscribers(ctx context.Context) ([]Buffer, error) {
	list, _, err := l.r.target.Buffers(ctx)
	if err != nil && !untold(err) {
		return nil, classify(err)
	}
	return list, nil
}

// greet looks for new connections after a silence, and publishes the tail again when there are some.
func (l *lane) greet(ctx context.Context) error {
	s, now := &l.silence, time.Now()
	reply, err := l.guard(ctx)
	if err != nil || !l.ready {
		return err
	}
	list, err := l.subscribers(ctx)
	if err != nil {
		return err
	}
	if s.news(now, list) && (reply.Receivers != 0 || l.required() > 0) { // else those are of other channels
		done, err := l.republish(ctx, l.progress.Run, true)
		if err != nil {
			return err
		}
		if !done {
			s.next = now.Add(s.pace)
			return nil
		}
		s.meet(list)
	}
	if !now.Before(s.until) {
		s.until = time.Time{}
		return nil
	}
	s.pace *= 2
	if s.next = now.Add(s.pace); s.next.After(s.until) {
		s.next = s.until
	}
	return nil
}
