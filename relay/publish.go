package relay

import (
	"context"
	"sync"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
)

// publish sends the entries in one round trip and takes note of what Redis made of them.
func (l *lane) publish(ctx context.Context, entries []outbox.Entry) (carried int, err error) {
	if entries[0].Err != nil {
		return 0, l.setAside(ctx, entries[0].Sequence, outbox.Failure{
			Attempts: 1, First: time.Now().UTC(), Last: time.Now().UTC(), Class: string(Damaged), Text: entries[0].Err.Error()})
	}
	if l.suspect.alone(entries[0].Sequence) {
		entries = entries[:1]
	}
	batches := l.batches(entries)
	var reading sync.WaitGroup
	if final := batches[len(batches)-1].Events; len(batches) > 1 { // a backlog: more will follow
		l.aheadOf = final[len(final)-1].Sequence
		reading.Go(func() { l.ahead, _ = l.read(ctx, l.aheadOf) }) // an error comes again in the next step
	}
	done, err := l.r.flow.take(ctx, sizes(batches), &l.express, l.slowed)
	if err != nil || ctx.Err() != nil || l.r.paused() {
		reading.Wait()
		done()
		return 0, err
	}
	began := time.Now()
	replies, err := l.r.target.Publish(ctx, batches...)
	done()
	reading.Wait()
	last := Reply{Outcome: OK}
	for i, reply := range replies {
		l.heard(reply, began)
		switch last = reply; reply.Outcome {
		case OK:
			carried += l.accept(batches[i].Events, reply)
		case Refused:
			carried += l.accept(upTo(batches[i].Events, reply.Mark), reply)
		}
	}
	if carried > 0 {
		if err := l.settle(ctx); err != nil {
			return carried, err
		}
	}
	if err == nil {
		if err := l.look(ctx); err != nil {
			return carried, err
		}
		return carried, l.react(ctx, last)
	}
	f := classify(err)
	if f.suspect {
		return carried, l.doubt(ctx, f, entries[carried:])
	}
	return carried, f
}

// slowed tells that the lane waits for a subscriber that reads slowly.
func (l *lane) slowed(reason string) {
	if l.status.set(Waiting, "", reason) {
		l.log.Debug("slowed down", "reason", reason)
	}
}

// sizes is about how many bytes the batches take in a subscriber's output buffer.
func sizes(batches []Batch) (bytes int64) {
	for _, b := range batches {
		for _, e := range b.Events {
			bytes += int64(len(e.Payload) + len(b.Channel) + 32)
		}
	}
	return bytes
}

// react does what the last answer of a call asks for.
func (l *lane) react(ctx context.Context, reply Reply) error {
	switch reply.Outcome {
	case Refused:
		return refused(reply.Err)
	case TooFew:
		return l.hold(ctx, reply)
	case Lost, Gone:
		return l.judge(ctx, reply)
	case OtherRun:
		l.ready = false
	}
	return nil
}

// batches splits entries into script calls that follow each other.
func (l *lane) batches(entries []outbox.Entry) []Batch {
	var batches []Batch
	before := l.progress.Accepted
	for len(entries) > 0 && entries[0].Err == nil {
		n, size := 0, 0
		for n < len(entries) && n < batchEvents && entries[n].Err == nil {
			if size += len(entries[n].Payload); n > 0 && size > batchBytes {
				break
			}
			n++
		}
		b := l.batch()
		b.Predecessor, b.Receivers, b.Events = before, l.required(), entries[:n]
		batches = append(batches, b)
		before = mark(entries[n-1])
		entries = entries[n:]
	}
	return batches
}

func mark(e outbox.Entry) outbox.Mark {
	return outbox.Mark{Sequence: e.Sequence, MessageID: e.MessageID}
}

// upTo returns the events up to the one with the mark, none when it is not among them.
func upTo(events []outbox.Entry, m outbox.Mark) []outbox.Entry {
	for i, e := range events {
		if mark(e) == m {
			return events[:i+1]
		}
	}
	return nil
}

// batch is a guard: a batch without events.
func (l *lane) batch() Batch {
	return Batch{Channel: l.channel, Origin: l.origin, Run: l.progress.Run, Predecessor: l.progress.Accepted, Added: l.added,
		Stream: l.stream, Wait: Wait{Replicas: l.r.opts.WaitReplicas, Timeout: l.waitTimeout()}}
}

// stored is up to which event the file has stored what no one heard, 0 when it may not have.
func (l *lane) stored() uint64 {
	if l.unflushed > 0 || len(l.unheard) > 0 {
		return 0
	}
	return l.progress.Accepted.Sequence
}

// waitTimeout is how long a call takes longer because it waits for replicas.
func (l *lane) waitTimeout() time.Duration {
	if l.r.opts.WaitReplicas <= 0 {
		return 0
	}
	return l.r.opts.WaitTimeout
}

// required is how many subscribers a batch insists on. Where the file cannot store for a long time what no one heard, someone has
// to hear what follows.
func (l *lane) required() int {
	if l.waived {
		return l.someone()
	}
	return max(l.r.opts.MinReceivers[l.topic], l.someone())
}

// someone is 1 when Redis keeps about as many events that no one heard as it can, and the file has not stored them yet.
func (l *lane) someone() int {
	if l.unflushed > keptUnheard-pipelineDepth*batchEvents {
		return 1
	}
	return 0
}

// heard takes note of a sign of life.
func (l *lane) heard(reply Reply, began time.Time) {
	if reply.Outcome != Lost && reply.Outcome != Gone { // else a repair follows, which may be what fails
		l.failing, l.reloads = false, 0
		l.backoff.Reset()
	}
	if l.progress.Run == "" {
		l.progress.Run = reply.Run // Redis tells it since just now
	}
	if reply.Run == l.progress.Run {
		l.tail.alive(began)
	}
	l.status.setReceivers(reply.Receivers)
}

// accept takes note of events that Redis has.
func (l *lane) accept(events []outbox.Entry, reply Reply) int {
	if len(events) == 0 {
		return 0
	}
	l.tail.add(events[0].Sequence, sizes([]Batch{{Channel: l.channel, Events: events}}), time.Now())
	last := events[len(events)-1]
	l.sent, l.progress.Accepted = last.Sequence, mark(last)
	l.unheard = append(l.unheard, reply.Unheard...)
	l.remember(reply)
	if reply.Receivers >= l.r.opts.MinReceivers[l.topic] {
		l.waived, l.heldSince = false, time.Time{}
	}
	l.status.set(Delivering, "", "")
	if l.r.opts.Observe != nil {
		l.r.opts.Observe(l.topic, events)
	}
	return len(events)
}

// remember notes how many subscribers are to be waited for after an outage.
func (l *lane) remember(reply Reply) {
	if reply.Receivers >= 0 && !reply.Partial || reply.Receivers > l.progress.Receivers {
		l.progress.Receivers = reply.Receivers
	}
}
