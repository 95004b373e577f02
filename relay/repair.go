package relay

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
)

// restore gives Redis back what it has lost: the mark, and the events that are missing in the stream.
func (l *lane) restore(ctx context.Context, reply Reply, p outbox.Position) error {
	return l.repair(ctx, reply, p, l.reportAmnesia)
}

// repair sets the marks to what is accepted, and adds to the stream what is missing. report is called before anything changes,
// unless it is nil.
func (l *lane) repair(ctx context.Context, reply Reply, p outbox.Position, report func(context.Context, Reply)) error {
	var held outbox.Mark
	if l.stream != nil {
		var known bool
		var err error
		if held, known, err = l.held(ctx, reply.Added, p); err != nil {
			return err
		}
		if !known {
			return l.newOrigin(ctx, held)
		}
	}
	if report != nil {
		report(ctx, reply)
	}
	readded, _, err := l.readd(ctx, reply, held)
	l.status.readd(readded)
	return err
}

// reportAmnesia tells of it before anything is repaired: a repair whose answer is lost, or that another relay ends, is none
// that can be told of afterwards.
func (l *lane) reportAmnesia(ctx context.Context, reply Reply) {
	if l.forgot {
		return
	}
	l.forgot = true
	l.status.forget()
	if time.Since(l.forgotAt) < alertPause { // a mark that is evicted again and again
		return
	}
	l.forgotAt = time.Now()
	what := fmt.Sprintf("its high-water mark is #%d instead of #%d", reply.Mark.Sequence, l.progress.Accepted.Sequence)
	if reply.Outcome == Gone {
		what = "its stream is gone"
	}
	l.r.alerts.raise(ctx, Alert{Kind: "redis_amnesia", Topic: l.topic, Time: time.Now(), Message: fmt.Sprintf(
		"Redis has forgotten what it accepted of %s: %s; the relay restores that; unless REDIS_URL or the channel was changed, check its persistence, eviction policy (noeviction) and failovers",
		l.topic, what)})
}

// inherit tells the mark what the stream has already got of the pending events: under another origin, when an older copy of
// the file was put back after it had gone on; or under this one, when Redis has lost the mark as well.
func (l *lane) inherit(ctx context.Context, reply Reply, p outbox.Position) error {
	held, known, err := l.held(ctx, reply.Added, p)
	switch {
	case err != nil:
		return err
	case !known:
		return l.newOrigin(ctx, held)
	case held == reply.Added:
		l.streamChecked, l.checkedRun = true, reply.Run
		return nil
	}
	readded, done, err := l.readd(ctx, reply, held)
	l.status.readd(readded)
	l.streamChecked, l.checkedRun = done, reply.Run
	return err
}

// readd sets the marks to what is accepted, after adding to the stream what follows the last event that it holds: without
// PUBLISH, for subscribers had it. Each call moves the marks, unless another relay has done so meanwhile: one that is
// interrupted, or comes second, looks again and goes on from there; then done is false.
func (l *lane) readd(ctx context.Context, reply Reply, held outbox.Mark) (readded int, done bool, err error) {
	l.unadded.of(reply.Run)
	goal := Marks{Published: l.progress.Accepted}
	from, before := goal.Published.Sequence, held.Sequence
	if l.stream != nil {
		oldest, err := l.r.source.Back(ctx, l.topic, from, l.stream.MaxLen)
		if err != nil {
			return 0, false, err
		}
		from, goal.Added = max(held.Sequence, oldest), held
		if from > before {
			if before, err = l.given(ctx, from); err != nil {
				return 0, false, err
			}
		}
	}
	for at := (Marks{reply.Mark, reply.Added}); ctx.Err() == nil; {
		events, predecessors, err := l.missing(ctx, from, before)
		if err != nil {
			return readded, false, err
		}
		step := Repair{Channel: l.channel, Origin: l.origin, Reported: at, Set: goal, Stream: l.stream, Events: events, Predecessors: predecessors}
		if n := len(events); n > 0 {
			last := mark(events[n-1])
			from, before, goal.Added, step.Set = last.Sequence, last.Sequence, last, Marks{last, last}
		}
		if step.Set.Published.Sequence < at.Published.Sequence { // until all is added again: the file must know what was published
			if err := l.r.source.Flush(ctx); err != nil {
				return readded, false, err
			}
		}
		answer, err := l.r.target.Restore(ctx, step)
		switch {
		case err != nil:
			f := classify(err)
			if f.suspect && len(events) > 0 {
				l.misfit(ctx, &l.unadded, events, "adding", OK, Lost, Gone)
			}
			return readded, false, f
		case answer.Outcome == Refused:
			return readded, false, refused(answer.Err)
		case answer.Outcome != OK:
			return readded, false, nil // somebody else has changed it
		}
		readded += len(events)
		l.unadded.suspect.acquit()
		if at = step.Set; at.Published == goal.Published {
			l.unadded = misfits{}
			return readded, true, nil
		}
	}
	return readded, false, nil
}

// held is the last event of this file that the stream was given, under whatever origin: as its entries tell, or its mark when
// the stream was cut by hand. When it was given something by the present origin that this file does not know, that comes back,
// as not known. Other outboxes may share the stream.
func (l *lane) held(ctx context.Context, marked outbox.Mark, p outbox.Position) (m outbox.Mark, known bool, err error) {
	if stray, err := l.stray(ctx, marked, p); err != nil {
		return marked, false, err
	} else if stray {
		marked = outbox.Mark{}
	}
	if known, err := l.knows(ctx, marked, p); err != nil || !known {
		return marked, false, err
	}
	own := append([]string{l.origin}, p.Previous...)
	for before := ""; ctx.Err() == nil; {
		entries, err := l.r.target.Newest(ctx, l.channel, before)
		if err != nil {
			return m, false, classify(err)
		}
		for _, e := range entries {
			if before = e.ID; e.Mark.Sequence == 0 {
				continue
			}
			ours := slices.Contains(own, e.Origin)
			if ours && e.Mark.Sequence <= marked.Sequence {
				return marked, true, nil
			}
			if ours {
				if stray, err := l.stray(ctx, e.Mark, p); err != nil {
					return m, false, err
				} else if stray { // of a topic that had the channel before
					continue
				}
			}
			known, err := l.gave(ctx, e, ours, p)
			if err != nil || known || e.Origin == l.origin {
				return e.Mark, known, err
			}
		}
		if len(entries) == 0 {
			return marked, true, nil
		}
	}
	return m, false, ctx.Err()
}

// gave says whether an entry is an event of this file. An origin that the file does not know may be one that it took once,
// before an older copy was put back: then the event itself tells.
func (l *lane) gave(ctx context.Context, e Entry, ours bool, p outbox.Position) (bool, error) {
	if ours {
		return l.knows(ctx, e.Mark, p)
	}
	if e.Mark.Sequence <= p.PrunedTo || e.Mark.Sequence > p.Last {
		return false, nil // it has no such event to compare with
	}
	id, err := l.r.source.MessageID(ctx, l.topic, e.Mark.Sequence)
	return id != "" && id == e.Mark.MessageID, err
}

// missing reads the next events up to the last accepted one, as many as one call takes, without damaged ones and those
// that Redis does not take any more. These are predecessors all the same, and so is what retention has removed: a reader misses
// them. before is the predecessor of the first one that is read.
func (l *lane) missing(ctx context.Context, after, before uint64) (events []outbox.Entry, predecessors []uint64, err error) {
	for through := l.progress.Accepted.Sequence; after < through; {
		events, err := l.r.source.Read(ctx, outbox.Range{Topic: l.topic, After: after, Through: through, Events: batchEvents, Bytes: batchBytes})
		if err != nil || len(events) == 0 {
			return nil, nil, err
		}
		p, err := l.r.source.Position(ctx, l.topic)
		if err != nil {
			return nil, nil, err
		}
		of := map[uint64]uint64{}
		for _, e := range events {
			if e.Sequence > p.PrunedDelivered {
				before = max(before, p.PrunedDelivered)
			}
			of[e.Sequence], before = before, e.Sequence
		}
		after = before
		if events = l.unadded.sift(events); len(events) > 0 {
			for _, e := range events {
				predecessors = append(predecessors, of[e.Sequence])
			}
			return events, predecessors, nil
		}
	}
	return nil, nil, nil
}

// given is the last event up to one that Redis was given, as far as the file still has it; 0 if there is none.
func (l *lane) given(ctx context.Context, through uint64) (uint64, error) {
	after, err := l.r.source.Back(ctx, l.topic, through, 1)
	if err != nil {
		return 0, err
	}
	events, err := l.r.source.Read(ctx, outbox.Range{Topic: l.topic, After: after, Through: through, Events: 1})
	if err != nil || len(events) == 0 {
		return 0, err
	}
	return events[0].Sequence, nil
}
