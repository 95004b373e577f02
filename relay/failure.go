package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
)

func (f failure) Error() string {
	if f.mend == "" {
		return fmt.Sprintf("%s: %v", f.class, f.err)
	}
	return fmt.Sprintf("%s: %v; %s", f.class, f.err, f.mend)
}

func (f failure) Unwrap() error { return f.err }

// handle deals with a failure of Redis: it says so, waits, and leaves the lane to get ready again. It costs no event an
// attempt.
func (l *lane) handle(ctx context.Context, f failure) {
	if f.class == Reload {
		l.reloads++
		err := l.r.target.Load(ctx)
		switch {
		case err != nil:
			f = classify(err)
		case l.reloads < 3:
			return
		default:
			f = failure{class: Outage, err: f.err, mend: "Redis forgets the scripts at once, or a slot is on its way to a master that has none yet"}
		}
	}
	first := !l.failing
	l.failing, l.ready, l.ahead = true, false, nil
	if l.progress.Accepted.Sequence == 0 { // a mark that is lost with an answer looks as one that was never there
		l.streamChecked = false
	}
	state := Blocked
	delay := min(l.backoff.NextBackOff(), l.r.opts.RetryMaxDelay)
	switch f.class {
	case Outage:
		state, l.outage = RedisDown, true
		if first {
			delay = 0 // a stale connection: Redis itself may be well
		}
	case Denied:
		delay = l.r.opts.RetryMaxDelay
	}
	if l.status.set(state, f.class, f.Error()) {
		l.log.Warn("cannot publish; events wait in the outbox", "state", state, "error", f)
		if state == Blocked {
			kind := "redis_refused"
			if f.class == Full {
				kind = "redis_full"
			}
			l.r.alerts.raise(ctx, Alert{Kind: kind, Topic: l.topic, Time: time.Now(),
				Message: fmt.Sprintf("Redis refuses events of %s, which wait in the outbox: %v", l.topic, f)})
		}
	}
	l.pause(ctx, delay)
}

// partial is the class of an error of the source when that works but for some of what it holds: its disk is full, or some of its
// pages are damaged. After any other error it does not work any more.
func partial(err error) Class {
	switch {
	case errors.Is(err, outbox.ErrDiskFull):
		return diskFull
	case errors.Is(err, outbox.ErrDamaged) && !errors.Is(err, outbox.ErrFailed):
		return Damaged
	}
	return ""
}

// suspect is an event that may be at fault itself for a failure.
type suspect struct {
	sequence uint64 // the first event of the call that failed
	times    int    // how often, in a row
	through  uint64 // events up to here are sent one at a time
	failure  outbox.Failure
}

// acquit takes back what was held against the event.
func (s *suspect) acquit() { s.sequence = 0 }

// alone says whether an event is to be sent by itself.
func (s *suspect) alone(sequence uint64) bool { return sequence <= s.through }

// blame takes note of a call that failed with these events, and says whether it was one that was sent by itself. times counts
// anew for each first event, and for one that is sent by itself from then on.
func (s *suspect) blame(first, last uint64) (alone bool) {
	alone = s.alone(first)
	if s.sequence != first {
		*s = suspect{sequence: first, through: s.through, failure: outbox.Failure{First: time.Now().UTC()}}
	}
	if s.times++; !alone && s.times >= 2 {
		s.times, s.through = 0, last
	}
	return alone
}

// witnesses is how many guards in a row must succeed after an event has failed alone, before it is blamed for that.
const witnesses = 5

// doubt looks into a failure that may be the fault of an event. When a call fails twice at the same event although Redis
// answered guards in between, its events are sent one by one; one that fails alone, while all guards before and for some time
// after succeed on the same run of Redis, has used up an attempt. A guard that fails acquits it: a network that resets
// connections now and then hits both.
func (l *lane) doubt(ctx context.Context, f failure, entries []outbox.Entry) error {
	s := &l.suspect
	first, last := entries[0], entries[len(entries)-1]
	if alone := s.blame(first.Sequence, last.Sequence); !alone {
		return f
	}
	if !l.testify(ctx, l.progress.Run, OK) {
		return f
	}
	s.failure.Attempts++
	s.failure.Last, s.failure.Class, s.failure.Text = time.Now().UTC(), string(Poison), f.err.Error()
	if s.failure.Attempts < l.r.opts.MaxRetries {
		l.log.Warn("an event fails by itself; trying again", "sequence", first.Sequence, "attempts", s.failure.Attempts, "error", f.err)
		return nil
	}
	return l.setAside(ctx, first.Sequence, s.failure)
}

// testify says whether some guards in a row, over the time of one backoff, are answered with one of the outcomes.
func (l *lane) testify(ctx context.Context, run string, outcomes ...Outcome) bool {
	delay := min(l.backoff.NextBackOff(), l.r.opts.RetryMaxDelay)
	for range witnesses {
		if ctx.Err() != nil {
			return false
		}
		b := l.batch()
		b.Run = run
		reply, err := l.call(ctx, b)
		if err != nil || !slices.Contains(outcomes, reply.Outcome) {
			return false
		}
		l.pause(ctx, delay/witnesses)
	}
	return true
}

// setAside parks an event that cannot be published, or waits at it when it must not be parked.
func (l *lane) setAside(ctx context.Context, sequence uint64, f outbox.Failure) error {
	if l.r.opts.BlockOnPoison {
		text := fmt.Sprintf("event #%d of %s cannot be published (%s: %s) and RELAY_ON_POISON=block keeps the topic waiting at it; see it with: matchrelay events show %d; set RELAY_ON_POISON=park to go on without it", sequence, l.topic, f.Class, f.Text, sequence)
		if l.status.set(Blocked, Class(f.Class), text) {
			l.r.alerts.raise(ctx, Alert{Kind: "event_blocked", Topic: l.topic, Time: time.Now(), Message: text})
		}
		l.pause(ctx, l.r.opts.RetryMaxDelay)
		return nil
	}
	err := l.r.source.Park(ctx, l.topic, sequence, f)
	if errors.Is(err, outbox.ErrNotFound) || errors.Is(err, outbox.ErrInvalid) { // an operator was first
		l.loaded = false
		return nil
	}
	if err != nil {
		return err
	}
	l.sent = sequence
	l.r.alerts.raise(ctx, Alert{Kind: "event_parked", Topic: l.topic, Time: time.Now(), Message: fmt.Sprintf(
		"event #%d of %s is parked after %d attempts (%s: %s); the topic goes on without it; see it with: matchrelay events show %d",
		sequence, l.topic, f.Attempts, f.Class, f.Text, sequence)})
	return nil
}
