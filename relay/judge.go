package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
)

// judge finds out what it means that Redis's high-water mark is not the last accepted event of this file, and leaves the
// lane to get ready again. Redis has an event of this file that came later (its answer was lost), or an older one or none (it
// has forgotten), or its stream is gone, or it has something that this file does not know (the file is an older copy of one
// that went on).
func (l *lane) judge(ctx context.Context, reply Reply) error {
	l.ready = false
	found, accepted := reply.Mark, l.progress.Accepted
	p, err := l.r.source.Position(ctx, l.topic)
	if err != nil {
		return err
	}
	if p.Origin != l.origin { // another topic has seen it first
		return l.load(ctx)
	}
	marks := []outbox.Mark{found}
	if l.stream != nil {
		marks = append(marks, reply.Added)
	}
	for _, m := range marks {
		if stray, err := l.stray(ctx, m, p); err != nil {
			return err
		} else if stray {
			return l.takeOver(ctx, reply, p)
		}
	}
	known, err := l.knows(ctx, found, p)
	if err != nil {
		return err
	}
	switch {
	case !known:
		return l.newOrigin(ctx, found)
	case found.Sequence > accepted.Sequence:
		l.tail.add(l.sent+1, 0, time.Now())
		l.unheard = append(l.unheard, reply.Unheard...)
		l.sent, l.progress.Accepted = max(l.sent, found.Sequence), found
		return l.settle(ctx)
	case found.Sequence < accepted.Sequence: // it may have died, also where it does not tell its run
		l.outage = true
		return l.restore(ctx, reply, p)
	case reply.Outcome == Gone:
		return l.restore(ctx, reply, p)
	case reply.Added.Sequence < l.added.Sequence: // the mark says no more what the stream has got
		l.streamChecked, l.added = false, outbox.Mark{}
	case reply.ahead() && reply.Added != l.added:
		if known, err = l.knows(ctx, reply.Added, p); err != nil {
			return err
		}
		if !known {
			return l.newOrigin(ctx, reply.Added)
		}
		l.added = reply.Added
	}
	return nil
}

// knows says whether the file has the event of a mark, or had it: what retention has removed cannot be compared.
func (l *lane) knows(ctx context.Context, m outbox.Mark, p outbox.Position) (bool, error) {
	if m.Sequence == 0 || m.Sequence == l.progress.Accepted.Sequence {
		return m.Sequence == 0 || m == l.progress.Accepted, nil
	}
	id, err := l.r.source.MessageID(ctx, l.topic, m.Sequence)
	return id == m.MessageID || id == "" && m.Sequence <= p.PrunedTo, err
}

// newOrigin takes a fresh origin, under which everything that is pending goes out; but not one after the other for ever.
func (l *lane) newOrigin(ctx context.Context, found outbox.Mark) error {
	taken, err := l.takeOrigin(ctx, found)
	if err == nil && !taken {
		l.giveUp(ctx)
	}
	if err != nil || !taken {
		return err
	}
	return l.load(ctx)
}

// takeOrigin is one topic's turn of newOrigin. Not taken means that there have been too many.
func (l *lane) takeOrigin(ctx context.Context, found outbox.Mark) (taken bool, err error) {
	select {
	case l.r.renewal <- struct{}{}:
		defer func() { <-l.r.renewal }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	p, err := l.r.source.Position(ctx, l.topic)
	if err != nil {
		return false, err
	}
	if p.Origin == l.origin { // else another topic, or another relay, was first
		if l.r.contest(time.Now()) {
			return false, nil
		}
		if err := l.renew(ctx, found); err != nil {
			return false, err
		}
	}
	l.r.origins.Add(1)
	return true, nil
}

// renew gives the file a fresh origin, and tells so. The caller holds the renewal token.
func (l *lane) renew(ctx context.Context, found outbox.Mark) error {
	alert := Alert{Kind: "outbox_rolled_back", Critical: true, Topic: l.topic, Time: time.Now(), Message: fmt.Sprintf(
		"Redis has accepted event #%d of %s, which this outbox file does not know: the file is an older copy. It takes a fresh origin and goes on; events between the copy and now may be missing here or be delivered twice (same message IDs); find out who put the older file there, and let the processor fetch and compare once more",
		found.Sequence, l.topic)}
	var events []outbox.Event
	if e, ok := l.r.alerts.event(alert); ok {
		events = append(events, e)
	}
	_, err := l.r.source.NewOrigin(ctx, l.origin, events...)
	if len(events) > 0 && (errors.Is(err, outbox.ErrFull) || errors.Is(err, outbox.ErrTooLarge) || errors.Is(err, outbox.ErrInvalid)) {
		l.log.Error("cannot append the alert event", "alert", alert.Kind, "error", err)
		_, err = l.r.source.NewOrigin(ctx, l.origin)
	}
	if err == nil {
		l.r.renewed = append(l.r.renewed, time.Now())
	}
	return err
}

// outdated says whether the file has a fresh origin since the lane last read its position. What it has read since then belongs to
// that: it must not go out under the former one, by which another outbox may go, a copy of this one.
func (l *lane) outdated(ctx context.Context) bool {
	select {
	case l.r.renewal <- struct{}{}:
		<-l.r.renewal
	case <-ctx.Done():
	}
	return l.origins != l.r.origins.Load()
}
