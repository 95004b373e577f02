package relay

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/PitchConnect/matchrelay/outbox"
)

// lane carries the events of one topic, in order. Everything below status belongs to the goroutine in run.
type lane struct {
	r       *Relay
	topic   string
	channel string
	log     *slog.Logger
	wake    chan struct{} // something was appended
	retry   chan struct{} // end the backoff now
	status  laneStatus

	loaded    bool
	origin    string
	inherited bool           // the marks of a fresh origin know what the stream has got under former ones
	ahead     []outbox.Entry // what follows aheadOf, read while a round trip was under way
	aheadOf   uint64
	sent      uint64          // every event up to here is accepted, parked or discarded
	progress  outbox.Progress // what is stored with the cursor; Receivers are those to wait for after an outage
	unheard   []uint64        // accepted, but heard by nobody; not settled yet
	added     outbox.Mark     // what the stream has beyond progress.Accepted; the file knows it
	stream    *Stream         // nil: no stream
	express   int64           // see flow
	tail      tail
	ready     bool // a guard has succeeded since the last failure
	outage    bool // Redis was away since the lane was last ready
	waived    bool // HoldMax is over: publish to whoever is there
	heldSince time.Time
	backoff   *backoff.ExponentialBackOff
	failing   bool // the last call failed
	reloads   int  // how often in a row Redis did not know the scripts
	suspect   suspect
	misfit    suspect // that cannot be added to the stream again
	redoFails int     // how often the tail could not be published again, in a row
	origins   int64   // Relay.origins when the position was read
	turns     int     // steps since an event was carried, or the lane rested
}

// restless is how many steps in a row may lead nowhere before the lane takes a rest: getting ready after the worst outage
// takes six. Two servers behind one address, or a mark that is evicted at once, would keep it spinning otherwise.
const restless = 8

func newLane(r *Relay, topic, channel string) *lane {
	l := &lane{
		r: r, topic: topic, channel: channel, log: r.opts.Logger.With("topic", topic),
		wake: make(chan struct{}, 1), retry: make(chan struct{}, 1),
		backoff: backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(r.opts.RetryDelay), backoff.WithMaxInterval(r.opts.RetryMaxDelay),
			backoff.WithMaxElapsedTime(0), backoff.WithRandomizationFactor(0.3)),
	}
	if r.opts.Streams {
		l.stream = &Stream{MaxLen: r.opts.StreamMaxLen, Source: r.opts.Source, Topic: topic, Schema: r.opts.Schemas[topic]}
	}
	l.status.health = TopicHealth{State: NotRunning, Since: time.Now(), Receivers: -1}
	return l
}

func (l *lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

var errDone = errors.New("nothing is pending") // ends run with UntilEmpty

// run carries events until ctx ends, or with UntilEmpty until nothing is pending, and says how many it carried. Errors are
// those of the source; whatever Redis does is handled within.
func (l *lane) run(ctx context.Context) (carried int, err error) {
	l.status.set(Waiting, "", "")
	for ctx.Err() == nil {
		n, err := l.step(ctx)
		carried += n
		if l.turns++; n > 0 {
			l.turns = 0
		}
		if l.turns > restless {
			l.pause(ctx, l.r.opts.RetryDelay)
		}
		var f failure
		switch {
		case err == nil:
		case errors.As(err, &f):
			l.handle(ctx, f)
		case errors.Is(err, errDone), ctx.Err() != nil:
			return carried, nil
		case errors.Is(err, outbox.ErrDiskFull):
			if l.status.set(Blocked, diskFull, err.Error()) {
				l.log.Warn("the disk of the outbox is full; trying again", "error", err)
			}
			l.pause(ctx, l.r.opts.RetryMaxDelay)
		default:
			return carried, err
		}
	}
	return carried, nil
}

// step does the next thing: get ready, publish what is pending, or wait for more.
func (l *lane) step(ctx context.Context) (carried int, err error) {
	if !l.loaded || l.origins != l.r.origins.Load() {
		if err := l.load(ctx); err != nil {
			return 0, err
		}
	}
	if !l.ready {
		return 0, l.connect(ctx)
	}
	entries := l.ahead
	l.ahead = nil
	if len(entries) == 0 || l.aheadOf != l.sent {
		if entries, err = l.read(ctx, l.sent); err != nil {
			return 0, err
		}
	}
	if len(entries) == 0 {
		return 0, l.idle(ctx)
	}
	return l.publish(ctx, entries)
}

// read returns what one round trip takes.
func (l *lane) read(ctx context.Context, after uint64) ([]outbox.Entry, error) {
	return l.r.source.Read(ctx, outbox.Range{Topic: l.topic, After: after,
		Events: pipelineDepth * batchEvents, Bytes: pipelineDepth * batchBytes})
}

// load reads where the topic stands.
func (l *lane) load(ctx context.Context) error {
	if err := l.r.source.Flush(ctx); err != nil && !errors.Is(err, outbox.ErrDiskFull) {
		return err
	}
	l.origins = l.r.origins.Load()
	p, err := l.r.source.Position(ctx, l.topic)
	if err != nil {
		return err
	}
	if l.loaded { // the origin has changed: Redis is the same, and so are its subscribers
		l.progress.Accepted, l.tail = p.Progress.Accepted, tail{}
	} else {
		l.progress = p.Progress
		if p.Progress.TailFrom != 0 {
			l.tail.add(p.Progress.TailFrom, time.Now())
		}
	}
	l.loaded, l.ready = true, false
	l.origin, l.inherited, l.sent, l.added = p.Origin, len(p.Previous) == 0 || l.stream == nil, p.Cursor, outbox.Mark{}
	return nil
}

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
	if err != nil || ctx.Err() != nil {
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
		return l.hold(ctx)
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

// waitTimeout is how long a call takes longer because it waits for replicas.
func (l *lane) waitTimeout() time.Duration {
	if l.r.opts.WaitReplicas <= 0 {
		return 0
	}
	return l.r.opts.WaitTimeout
}

// required is how many subscribers a batch insists on.
func (l *lane) required() int {
	if l.waived {
		return 0
	}
	return l.r.opts.MinReceivers[l.topic]
}

// heard takes note of a sign of life.
func (l *lane) heard(reply Reply, began time.Time) {
	l.failing, l.reloads = false, 0
	l.backoff.Reset()
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
	l.tail.add(events[0].Sequence, time.Now())
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

// settle tells the source.
func (l *lane) settle(ctx context.Context) error {
	l.progress.TailFrom = l.tail.from()
	err := l.r.source.Settle(context.WithoutCancel(ctx), outbox.Receipt{Topic: l.topic, Through: l.sent, Unheard: l.unheard,
		Origin: l.origin, Progress: l.progress})
	if err == nil {
		l.unheard = nil
	}
	return err
}

// idle waits for more. At the pace of the health checks, and once after the last event when Redis must be known to have
// outlived it, it looks whether Redis is what it was.
func (l *lane) idle(ctx context.Context) error {
	l.turns = 0
	l.status.set(Delivering, "", "")
	after := l.r.opts.HealthInterval
	if l.tail.from() != 0 {
		after = min(after, max(0, time.Until(l.tail.safe())))
	} else if l.r.opts.UntilEmpty {
		return errDone
	}
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-l.wake:
		return nil
	case <-l.retry:
	case <-timer.C:
	}
	reply, err := l.guard(ctx)
	if err != nil || !l.ready { // what it found comes first: who was there before an outage must not be forgotten
		return err
	}
	if reply.Receivers == l.progress.Receivers && l.tail.from() == l.progress.TailFrom {
		return nil
	}
	l.remember(reply)
	return l.settle(ctx)
}

// remember notes how many subscribers are to be waited for after an outage.
func (l *lane) remember(reply Reply) {
	if reply.Receivers >= 0 && !reply.Partial || reply.Receivers > l.progress.Receivers {
		l.progress.Receivers = reply.Receivers
	}
}

// guard asks Redis for the mark, its run and the subscribers; anything but agreement is dealt with.
func (l *lane) guard(ctx context.Context) (Reply, error) {
	reply, err := l.call(ctx, l.batch())
	if err != nil {
		return reply, err
	}
	return reply, l.react(ctx, reply)
}

// call sends one guard.
func (l *lane) call(ctx context.Context, b Batch) (Reply, error) {
	began := time.Now()
	replies, err := l.r.target.Publish(ctx, b)
	if err != nil {
		l.suspect.acquit()
		return Reply{}, classify(err)
	}
	l.heard(replies[0], began)
	return replies[0], nil
}

// pause waits, unless somebody wants a retry now or ctx ends.
func (l *lane) pause(ctx context.Context, d time.Duration) {
	if d > 0 {
		l.turns = 0
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-l.retry:
	case <-timer.C:
	}
}
