package relay

import (
	"context"
	"slices"

	"github.com/PitchConnect/matchrelay/outbox"
)

// misfits finds out which events a run of Redis does not take any more, when it is to be given them again: one that fails alone as
// often as an event may fail, while everything else succeeds, is left out.
type misfits struct {
	run     string
	suspect suspect
	out     map[uint64]bool
}

// of begins anew for another run of Redis: it may take what the one before did not.
func (m *misfits) of(run string) {
	if m.run != run {
		*m = misfits{run: run}
	}
}

// sift leaves out damaged events and misfits, and returns the first of the others by itself when it is suspected.
func (m *misfits) sift(events []outbox.Entry) []outbox.Entry {
	events = slices.DeleteFunc(events, func(e outbox.Entry) bool { return e.Err != nil || m.out[e.Sequence] })
	if len(events) > 0 && m.suspect.alone(events[0].Sequence) {
		events = events[:1]
	}
	return events
}

// misfit takes note of a call with events that failed, perhaps by the fault of one of them. Guards tell whether Redis is well: outcomes are
// what they may answer.
func (l *lane) misfit(ctx context.Context, m *misfits, events []outbox.Entry, doing string, outcomes ...Outcome) {
	first, last := events[0].Sequence, events[len(events)-1].Sequence
	if alone := m.suspect.blame(first, last); !alone || m.suspect.times < l.r.opts.MaxRetries || !l.testify(ctx, m.run, outcomes...) {
		return
	}
	l.log.Error("gives up "+doing+" an event again: Redis takes everything else", "sequence", first)
	if m.out == nil {
		m.out = map[uint64]bool{}
	}
	m.out[first] = true
}
