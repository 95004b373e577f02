package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// tell goes through the plan.
func (d *demo) tell(ctx context.Context) error {
	s := d.screen
	s.line(s.colors.bold("matchrelay demo") + " on " + d.redis.name())
	s.line("A made-up FOGIS list changes every second. Each change is stored in the outbox")
	s.line("as three events (started, match update, completed); the relay publishes them, a")
	s.line("subscriber receives them. Times count from when the change was stored.")
	s.line("")
	s.header()
	for range d.plan.before {
		if err := d.liveChange(ctx); err != nil {
			return err
		}
	}
	tails, err := d.tails(ctx)
	if err != nil {
		return err
	}
	d.redis.stop()
	if d.kills {
		d.book.kill(tails)
	}
	s.event(s.colors.red(d.redis.stopped() + "; the list keeps changing"))
	for range d.plan.outage {
		if err := d.hiddenChange(ctx); err != nil {
			return err
		}
	}
	if err := d.noticed(ctx); err != nil {
		return err
	}
	if err := d.comeBack(ctx); err != nil {
		return err
	}
	for range d.plan.after {
		if err := d.liveChange(ctx); err != nil {
			return err
		}
	}
	s.line("")
	return nil
}

// tails are, by topic, the first event that comes again if Redis dies: what the relay itself has stored. It sends none again
// that was before.
func (d *demo) tails(ctx context.Context) (map[string]uint64, error) {
	stats, err := d.outbox.Stats(ctx)
	if err != nil {
		return nil, err
	}
	from := map[string]uint64{}
	for _, t := range stats.Topics {
		if from[t.Topic] = t.Progress.TailFrom; t.Progress.TailFrom == 0 {
			from[t.Topic] = t.Progress.Accepted.Sequence + 1
		}
	}
	return from, nil
}

// noticed waits until the relay has noticed that Redis is away.
func (d *demo) noticed(ctx context.Context) error {
	for d.relay.Health().State == relay.Delivering {
		if sleep(ctx, 10*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("the relay does not notice: %w", ctx.Err())
		}
	}
	d.tellRelay()
	return nil
}

// liveChange makes a change and waits until the subscriber has it.
func (d *demo) liveChange(ctx context.Context) error {
	next := time.Now().Add(d.plan.pace)
	what, events, stored, err := d.change(ctx)
	if err != nil {
		return err
	}
	ids := idsOf(events)
	if !d.book.await(ctx, ids) {
		return fmt.Errorf("%s did not arrive: %w", sequencesOf(events), ctx.Err())
	}
	published, received := d.book.times(ids[len(ids)-1])
	d.screen.change(what, sequencesOf(events), since(stored, published), since(stored, received))
	sleep(ctx, time.Until(next))
	return nil
}

// hiddenChange makes a change while Redis is away.
func (d *demo) hiddenChange(ctx context.Context) error {
	next := time.Now().Add(d.plan.pace)
	what, events, _, err := d.change(ctx)
	if err != nil {
		return err
	}
	d.screen.change(what, sequencesOf(events), fmt.Sprintf("%d wait", d.book.waiting()), "")
	for time.Now().Before(next) && ctx.Err() == nil {
		d.tellRelay()
		d.screen.backlog(d.book.waiting(), d.plan.outage*3)
		sleep(ctx, 50*time.Millisecond)
	}
	return nil
}

// comeBack starts Redis and waits until the backlog is with the subscriber.
func (d *demo) comeBack(ctx context.Context) error {
	began, backlog := time.Now(), d.book.waiting()
	if err := d.redis.start(ctx); err != nil {
		return err
	}
	d.screen.event(d.screen.colors.green("Redis is back"))
	for d.book.waiting() > 0 {
		d.tellRelay()
		d.screen.backlog(d.book.waiting(), backlog)
		if sleep(ctx, 10*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("%s did not arrive: %w", count(d.book.waiting(), "event"), ctx.Err())
		}
	}
	d.screen.event(d.screen.colors.green(fmt.Sprintf("all %s of the outage received, %.1f s after Redis came back",
		count(backlog, "event"), time.Since(began).Seconds())))
	return nil
}

// relayNews are the relay's states as the demo tells them.
var relayNews = map[relay.State]string{
	relay.RedisDown: "relay: Redis does not answer; events stay in the outbox, in order",
	relay.Waiting:   "relay: Redis answers; waiting for the subscriber, so that someone hears",
}

// tellRelay tells when the relay's state has changed.
func (d *demo) tellRelay() {
	state := d.relay.Health().State
	if news := relayNews[state]; news != "" && state != d.shown {
		d.screen.event(d.screen.colors.yellow(news))
	}
	d.shown = state
}

// change lets the list change once and records it.
func (d *demo) change(ctx context.Context) (what string, events []outbox.Info, stored time.Time, err error) {
	summary, err := d.recorder.Cycle(ctx, d.feed.fetch)
	if err != nil {
		return "", nil, stored, err
	}
	stored = time.Now()
	if events, err = d.outbox.List(ctx, outbox.Filter{After: d.last}); err != nil {
		return "", nil, stored, err
	}
	d.last = events[len(events)-1].Sequence
	d.book.send(events)
	if what = changesText(summary.Changes); !summary.Changed() {
		what = fmt.Sprintf("%s (%s)", what, strings.TrimPrefix(string(d.feed.last.Kind), "the "))
	}
	return what, events, stored, nil
}

func idsOf(events []outbox.Info) []string {
	var ids []string
	for _, e := range events {
		ids = append(ids, e.MessageID)
	}
	return ids
}

func sequencesOf(events []outbox.Info) string {
	var numbers []uint64
	for _, e := range events {
		numbers = append(numbers, e.Sequence)
	}
	return sequences(numbers)
}
