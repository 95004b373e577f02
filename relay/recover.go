package relay

import (
	"context"
	"fmt"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
)

// connect gets the lane ready: at the start, after a failure, and when another process of Redis answers. It waits for the
// subscribers that were there before, settles a disagreement about the high-water mark, and publishes again what a Redis
// that died may have kept from its subscribers.
func (l *lane) connect(ctx context.Context) error {
	guard := l.batch()
	guard.Run = ""
	reply, err := l.call(ctx, guard)
	if err != nil {
		return err
	}
	restarted := func() bool { return l.progress.Run != "" && reply.Run != "" && reply.Run != l.progress.Run }
	if restarted() && l.r.target.Lives(ctx, l.progress.Run) {
		l.log.Info("the slot of the channel has moved to another node of the Cluster", "channel", l.channel)
		l.progress.Run = reply.Run
	}
	l.outage = l.outage || restarted()
	waits := l.outage || l.fresh
	if reply.Outcome == OK && waits {
		if reply, err = l.rejoin(ctx, reply); err != nil || ctx.Err() != nil || l.r.paused() {
			return err
		}
	}
	if reply.Outcome != OK {
		return l.judge(ctx, reply) // and begin anew with what it found
	}
	if waits {
		reply.Partial = false // those who did not come back in time are not waited for again
	}
	l.remember(reply)
	if l.stream != nil && (!l.streamChecked || reply.Run != l.checkedRun) {
		p, err := l.r.source.Position(ctx, l.topic)
		if err != nil {
			return err
		}
		return l.inherit(ctx, reply, p)
	}
	if restarted() && l.tail.from() != 0 {
		if reply, err = l.holdTail(ctx, reply); err != nil || ctx.Err() != nil || l.r.paused() || reply.Outcome != OK {
			return err // or begin anew
		}
		l.remember(reply)
		if done, err := l.republish(ctx, reply.Run); err != nil || !done {
			return err
		}
	}
	l.r.flow.again()
	if l.outage {
		l.log.Info("delivering again", "receivers", reply.Receivers)
	}
	l.progress.Run = reply.Run
	l.ready, l.fresh, l.outage, l.forgot, l.rejoining, l.heldSince = true, false, false, false, false, time.Time{}
	return l.settle(ctx)
}

// rejoin waits until as many subscribers are there as before the outage, or RejoinWait is over. Only the time in which Redis
// answers counts, from its first answer. A failure meanwhile interrupts the wait, and makes it longer by the time that Redis
// was away, for those who were back may have been thrown out once more: up to RejoinWait, and by three times that in all.
// Another death of Redis begins a new one.
func (l *lane) rejoin(ctx context.Context, reply Reply) (Reply, error) {
	wait := l.r.opts.RejoinWait
	if !l.rejoining || reply.Run != l.rejoinRun {
		l.rejoining, l.rejoinRun, l.rejoinLeft, l.rejoinMore = true, reply.Run, wait, 3*wait
	} else {
		more := min(time.Since(l.rejoinSeen), wait-l.rejoinLeft, l.rejoinMore)
		l.rejoinLeft, l.rejoinMore = l.rejoinLeft+more, l.rejoinMore-more
	}
	l.rejoinSeen = time.Now()
	for reply.Receivers >= 0 && reply.Receivers < l.progress.Receivers && l.rejoinLeft > 0 && ctx.Err() == nil && !l.r.paused() {
		if l.status.set(Waiting, "", fmt.Sprintf("%d of %d subscribers are back", reply.Receivers, l.progress.Receivers)) {
			l.log.Info("waiting for the subscribers that were there before", "receivers", reply.Receivers, "before", l.progress.Receivers)
		}
		answered := time.Now()
		l.pause(ctx, min(receiverPoll, l.rejoinLeft))
		b := l.batch()
		b.Run = ""
		next, err := l.call(ctx, b)
		if err != nil || next.Outcome != OK {
			return next, err
		}
		l.rejoinSeen = time.Now()
		if l.rejoinLeft -= time.Since(answered); next.Run != l.rejoinRun {
			l.rejoinRun, l.rejoinLeft, l.rejoinMore = next.Run, wait, 3*wait
		}
		reply = next
	}
	return reply, nil
}

// short says whether the topic has to wait for subscribers that it requires; then it tells so.
func (l *lane) short(reply Reply) bool {
	if reply.Receivers < 0 || reply.Receivers >= l.required() {
		return false
	}
	if l.heldSince.IsZero() {
		l.heldSince = time.Now()
	}
	if most := l.r.opts.HoldMax; most > 0 && time.Since(l.heldSince) >= most && !l.waived {
		l.log.Warn("publishing to the subscribers that are there: RELAY_HOLD_MAX is over", "channel", l.channel)
		if l.waived = true; l.someone() == 0 {
			return false
		}
	}
	text := fmt.Sprintf("channel %s has fewer than %d subscribers; start one, or lower RELAY_MIN_RECEIVERS", l.channel, l.required())
	if l.someone() > 0 {
		text = fmt.Sprintf("channel %s has no subscriber, and the disk of the outbox is too full to store which events were unheard; free space on it, or start a subscriber", l.channel)
	}
	if l.status.set(Held, "", text) {
		l.log.Warn("held: too few subscribers", "channel", l.channel, "required", l.required())
	}
	return true
}

// hold waits for the subscribers that the topic requires.
func (l *lane) hold(ctx context.Context, reply Reply) error {
	for ctx.Err() == nil && !l.r.paused() && l.short(reply) {
		l.pause(ctx, receiverPoll)
		var err error
		if reply, err = l.guard(ctx); err != nil || !l.ready {
			return err
		}
		p, err := l.r.source.Position(ctx, l.topic)
		if err != nil {
			return err
		}
		if l.tail.from() != l.progress.TailFrom { // Redis has outlived what was sent before
			if err := l.settle(ctx); err != nil {
				return err
			}
		}
		if max(p.Cursor, l.sent) >= p.Last { // an operator has discarded what waited
			break
		}
	}
	if !l.waived {
		l.heldSince = time.Time{}
	}
	return nil
}

// holdTail is hold for what is to be published again: it ends with another answer than OK, too.
func (l *lane) holdTail(ctx context.Context, reply Reply) (Reply, error) {
	for ctx.Err() == nil && !l.r.paused() && reply.Outcome == OK && l.short(reply) {
		l.pause(ctx, receiverPoll)
		b := l.batch()
		b.Run = reply.Run
		var err error
		if reply, err = l.call(ctx, b); err != nil {
			l.heldSince = time.Time{} // HoldMax counts on a reachable Redis
			return reply, err
		}
		l.rejoinSeen = time.Now() // that wait is over
	}
	return reply, nil
}

// republish publishes the tail again, after Redis died with it; done is false when it has to be tried again.
func (l *lane) republish(ctx context.Context, run string) (done bool, err error) {
	from, through := l.tail.from(), l.sent
	if from == 0 || from > through {
		return true, nil
	}
	count, bytes := 0, int64(0)
	l.unsaid.of(run)
	for after := from - 1; ; {
		entries, err := l.r.source.Read(ctx, outbox.Range{Topic: l.topic, After: after, Through: through, Events: batchEvents, Bytes: batchBytes})
		if partial(err) == Damaged { // what cannot be read cannot come again, and keeps nothing else waiting
			l.r.alerts.damage(ctx, l.topic, "what subscribers may have missed of "+l.topic+" is not published again", err)
			break
		}
		if err != nil {
			return false, err
		}
		if len(entries) == 0 {
			break
		}
		after = entries[len(entries)-1].Sequence
		b := l.batch()
		b.Run, b.Receivers, b.Events = run, l.required(), l.unsaid.sift(entries)
		if len(b.Events) == 0 {
			continue
		}
		if first := b.Events[0].Sequence; l.unsaid.suspect.alone(first) {
			after = first
		}
		size := sizes([]Batch{b})
		sent, err := l.r.flow.take(ctx, size, &l.express, l.slowed)
		if err != nil || ctx.Err() != nil || l.r.paused() {
			sent()
			return false, err
		}
		reply, err := l.r.target.Republish(ctx, b)
		sent()
		switch {
		case err != nil:
			f := classify(err)
			if f.suspect {
				l.misfit(ctx, &l.unsaid, b.Events, "publishing", OK)
			}
			return false, f
		case reply.Outcome == Refused:
			return false, refused(reply.Err)
		case reply.Outcome != OK: // another process, or subscribers have left just now
			return false, nil
		}
		count, bytes = count+reply.Published, bytes+size
		if l.unheard = append(l.unheard, reply.Unheard...); len(reply.Unheard) > 0 {
			if err := l.settle(ctx); err != nil {
				return false, err
			}
			if err := l.flushUnheard(ctx); err != nil { // Redis keeps that of one call only
				return false, err
			}
		}
	}
	l.tail, l.unsaid = tail{}, misfits{}
	l.tail.add(from, bytes, time.Now())
	l.log.Info("Redis has died and is back: published again what its subscribers may have missed", "from", from, "through", through, "events", count)
	return true, nil
}
