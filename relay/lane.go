package relay

import (
	"context"
	"errors"
	"log/slog"
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
	wake    chan struct{} // look again
	retry   chan struct{} // end the backoff now
	status  laneStatus

	loaded        bool
	fresh         bool // it has not been ready since it began: subscribers may have been lost with Redis before
	origin        string
	streamChecked bool            // what the stream has got of the file already is known, whatever the mark says
	checkedRun    string          // which Redis told that
	appended      <-chan struct{} // closed when something was appended since the latest read
	ahead         []outbox.Entry  // what follows aheadOf, read while a round trip was under way
	aheadOf       uint64
	sent          uint64          // every event up to here is accepted, parked or discarded
	progress      outbox.Progress // what is stored with the cursor; Receivers are those to wait for after an outage
	unheard       []uint64        // accepted, but heard by no one; not settled yet
	unflushed     int             // how many that no one heard were settled since the last flush
	added         outbox.Mark     // what the stream has beyond progress.Accepted; the file knows it
	stream        *Stream         // nil: no stream
	express       int64           // see flow
	tail          tail
	ready         bool      // a guard has succeeded since the last failure
	outage        bool      // Redis was away since the lane was last ready
	forgot        bool      // and had forgotten something, which has been reported
	forgotAt      time.Time // when that was last reported
	rejoining     bool      // its subscribers are waited for; see rejoin
	rejoinRun     string
	rejoinLeft    time.Duration
	rejoinMore    time.Duration // by which rejoinLeft may still grow
	rejoinSeen    time.Time
	waived        bool // HoldMax is over: publish to those who are there
	heldSince     time.Time
	backoff       *backoff.ExponentialBackOff
	failing       bool // the last call failed
	reloads       int  // how often in a row Redis did not know the scripts
	suspect       suspect
	unadded       misfits // that cannot be added to the stream again
	unsaid        misfits // that cannot be published again
	origins       int64   // Relay.origins when the position was read
	turns         int     // steps since an event was carried, or the lane rested
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
		l.stream = &Stream{MaxLen: r.opts.StreamMaxLen, MaxUnread: r.opts.StreamMaxUnread, Source: r.opts.Source, Topic: topic, Schema: r.opts.Schemas[topic]}
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
	defer func() {
		if err == nil {
			l.lastLook(ctx)
		}
	}()
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
		class := partial(err)
		switch {
		case err == nil:
		case errors.Is(err, errDone), ctx.Err() != nil:
			return carried, nil
		case errors.As(err, &f):
			l.handle(ctx, f)
		case class == diskFull, class == Damaged && !l.r.opts.UntilEmpty:
			if l.status.set(Blocked, class, err.Error()) {
				l.log.Warn("the outbox cannot do what the topic needs; trying again", "error", err)
				l.r.alerts.damage(ctx, l.topic, l.topic+" is not delivered, or what was delivered of it is not stored", err)
			}
			l.pause(ctx, l.r.opts.RetryMaxDelay)
		default:
			return carried, err
		}
	}
	return carried, nil
}

// step does the next thing: get ready, publish what is pending, or wait for more; nothing while the relay is paused.
func (l *lane) step(ctx context.Context) (carried int, err error) {
	if opened := l.r.valve.closed(); opened != nil {
		l.ahead = nil // it may be discarded meanwhile
		return 0, l.rest(ctx, opened)
	}
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
	switch {
	case len(entries) == 0:
		return 0, l.idle(ctx)
	case l.outdated(ctx):
		return 0, nil
	}
	return l.publish(ctx, entries)
}

// read returns what one round trip takes.
func (l *lane) read(ctx context.Context, after uint64) ([]outbox.Entry, error) {
	l.appended = l.r.source.Appended()
	return l.r.source.Read(ctx, outbox.Range{Topic: l.topic, After: after,
		Events: pipelineDepth * batchEvents, Bytes: pipelineDepth * batchBytes})
}

// load reads where the topic stands.
func (l *lane) load(ctx context.Context) error {
	switch err := l.r.source.Flush(ctx); {
	case err == nil:
		l.unflushed = 0
	case partial(err) != "":
		l.unflushed = max(1, l.unflushed) // the relay before may have left something
	default:
		return err
	}
	l.origins = l.r.origins.Load()
	p, err := l.r.source.Position(ctx, l.topic)
	if err != nil {
		return err
	}
	if l.loaded { // the origin has changed: Redis is the same, and so are its subscribers
		l.progress.Accepted = p.Progress.Accepted
	} else {
		l.progress, l.fresh = p.Progress, true
		if p.Progress.TailFrom != 0 {
			l.tail.add(p.Progress.TailFrom, 0, time.Now())
		}
	}
	l.loaded, l.ready = true, false
	l.origin, l.streamChecked, l.sent, l.added = p.Origin, false, p.Cursor, outbox.Mark{}
	return nil
}

// settle tells the source.
func (l *lane) settle(ctx context.Context) error {
	l.progress.TailFrom = l.tail.from()
	err := l.r.source.Settle(context.WithoutCancel(ctx), outbox.Receipt{Topic: l.topic, Through: l.sent, Unheard: l.unheard,
		Origin: l.origin, Progress: l.progress})
	if err != nil {
		return err
	}
	l.unflushed += len(l.unheard)
	if l.unheard = nil; l.someone() == 0 {
		return nil
	}
	return l.flushUnheard(ctx)
}

// flushUnheard has the file store what no one heard. Redis keeps that for the next relay, should this one die: but only so many,
// and until a guard says that it is stored (Batch.Stored), which it is not on a full disk or damaged pages.
func (l *lane) flushUnheard(ctx context.Context) error {
	if l.unflushed == 0 {
		return nil
	}
	stored, err := l.r.flush(ctx)
	if stored {
		l.unflushed = 0
	}
	if partial(err) != "" {
		return nil
	}
	return err
}

// idle waits for more. At the pace of the health checks, and once after the last event when Redis must be known to have
// outlived it, it looks whether Redis is what it was.
func (l *lane) idle(ctx context.Context) error {
	l.turns = 0
	l.status.set(Delivering, "", "")
	after := l.r.opts.HealthInterval
	if l.r.opts.UntilEmpty && l.tail.lookedAt() {
		return errDone
	} else if l.tail.from() != 0 {
		after = min(after, l.tail.safe())
	}
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-l.wake:
		return nil
	case <-l.appended:
		return nil
	case <-l.retry:
	case <-timer.C:
	}
	run := l.progress.Run
	reply, err := l.guard(ctx)
	if err != nil || !l.ready { // what it found comes first: who was there before an outage must not be forgotten
		return err
	}
	if reply.Receivers == l.progress.Receivers && l.tail.from() == l.progress.TailFrom && l.progress.Run == run {
		return nil
	}
	l.remember(reply)
	return l.settle(ctx)
}

// look finds out how far behind the slowest subscriber is, when the tail wants to know.
func (l *lane) look(ctx context.Context) error {
	now := time.Now()
	if !l.tail.due(now) {
		return nil
	}
	behind, all, err := l.r.flow.behind(ctx, l.progress.Receivers)
	if err == nil {
		l.tail.see(now, behind, all, time.Since(now))
	}
	return err
}

// guard asks Redis for the mark, its run and the subscribers; anything but agreement is dealt with.
func (l *lane) guard(ctx context.Context) (Reply, error) {
	reply, err := l.call(ctx, l.batch())
	if err != nil {
		return reply, err
	}
	return reply, l.react(ctx, reply)
}

// call sends one guard, after a look at the buffers if it is time for one; but to get ready, no look is needed.
func (l *lane) call(ctx context.Context, b Batch) (Reply, error) {
	err := l.flushUnheard(ctx)
	if err != nil {
		return Reply{}, err
	}
	b.Stored = l.stored()
	if l.ready {
		err = l.look(ctx)
	}
	began := time.Now()
	var replies []Reply
	if err == nil {
		if replies, err = l.r.target.Publish(ctx, b); err != nil {
			err = classify(err)
		}
	}
	if err != nil {
		l.suspect.acquit()
		l.unadded.suspect.acquit()
		l.unsaid.suspect.acquit()
		return Reply{}, err
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
