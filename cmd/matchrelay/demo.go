package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/schema"
)

// demoLimit ends a demo that hangs.
const demoLimit = 28 * time.Second

// script is how the demo goes on: so many changes before, during and after the outage, one in each pace.
type script struct {
	before, outage, after int
	pace                  time.Duration
}

func (a *app) demoCommand() *cobra.Command {
	var server string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See the whole job in 20 seconds, with a Redis outage in the middle",
		Long: `Demo lets a made-up FOGIS list change every second, records each change, relays it and subscribes to it; stops Redis
for some seconds, starts it again, and compares in the end what was sent with what was received. It needs nothing and
leaves nothing behind. The exit code is 0 if nothing is missing, repeated or out of order, else 5.

With --redis-server it uses a real redis-server, which it kills with SIGKILL. What was published in the 2 s before the
kill may then come again, in order and with the same message IDs: a subscriber may not have been served yet.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.demo(cmd.Context(), server, script{before: 6, outage: 6, after: 3, pace: time.Second})
		},
	}
	cmd.Flags().StringVar(&server, "redis-server", "", "a redis-server binary to use and kill, instead of the embedded Redis")
	cmd.Flags().Lookup("redis-server").NoOptDefVal = "redis-server"
	return cmd
}

func (a *app) demo(ctx context.Context, server string, plan script) (err error) {
	ctx, cancel := context.WithTimeout(ctx, demoLimit)
	defer cancel()
	folder, err := os.MkdirTemp("", "matchrelay-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the demo: %w", err)
	}
	defer os.RemoveAll(folder)
	d := &demo{book: newBook(), feed: newFeedSource(), plan: plan, redis: newEmbeddedRedis()}
	if server != "" {
		if d.redis, err = newRealRedis(server, folder); err != nil {
			return err
		}
		d.kills = true
	}
	out := a.stdout
	if a.output != formatTable { // the story is for people, the result for a program
		out = a.stderr
	}
	d.screen = &screen{out: out, live: a.terminal(out), colors: a.colors(out)}
	defer d.redis.stop()
	if err := d.redis.start(ctx); err != nil {
		return err
	}
	if d.cfg, err = config.Load(config.Options{
		Environ: []string{}, EnvFile: os.DevNull,
		Overrides: map[string]string{
			"REDIS_URL": "redis://" + d.redis.addr(), "MATCHRELAY_DB": filepath.Join(folder, "matchrelay.db"),
			"REDIS_RETRY_DELAY": "0.2", "REDIS_RETRY_MAX_DELAY": "1", "RELAY_REJOIN_WAIT": "10s",
		},
	}); err != nil {
		return err
	}
	result, err := d.run(ctx)
	if err != nil {
		d.screen.foot("")
		return fmt.Errorf("demo: %w", err)
	}
	if err := a.print(result, func(io.Writer) { d.screen.conclude(result, d.kills) }); err != nil || result.Good {
		return err
	}
	return exit(exitUnverified, errors.New("demo: the table shows what went wrong; please report it with this output"))
}

// demo is one run of the demo.
type demo struct {
	cfg    *config.Config
	plan   script
	screen *screen
	book   *book
	feed   *feedSource
	redis  demoRedis
	kills  bool // stopping Redis is a SIGKILL

	outbox   *outbox.Outbox
	recorder *changes.Recorder
	relay    *relay.Relay
	last     uint64      // highest sequence that is in the book
	shown    relay.State // of the relay, as last told
}

// demoResult is what the demo found.
type demoResult struct {
	Good     bool      `json:"good"`
	Sent     int       `json:"sent"`
	Topics   []verdict `json:"topics"`
	Problems []string  `json:"problems"` // of the outbox file
}

// run opens the outbox, starts relay and subscriber, and tells the story.
func (d *demo) run(ctx context.Context) (result demoResult, err error) {
	if d.outbox, err = openOutbox(d.cfg, nil, false); err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, d.outbox.Close()) }()
	if d.recorder, err = newRecorder(d.outbox, d.cfg, nil); err != nil {
		return result, err
	}
	client, subscriberClient := newClient(d.cfg), newClient(d.cfg)
	defer client.Close()
	defer subscriberClient.Close()
	opts := relayOptions(d.cfg, nil)
	opts.Observe = d.book.publish
	d.relay = relay.New(d.outbox, relay.NewRedis(client, d.cfg.Redis.SocketTimeout), opts)

	var ended sync.WaitGroup
	background, stop := context.WithCancel(ctx)
	defer ended.Wait()
	defer stop()
	l := listener{client: subscriberClient, channels: channelsOf(d.cfg), delay: time.Second, received: d.received}
	ended.Go(func() { l.run(background) })
	relayed := make(chan error, 1)
	ended.Go(func() { relayed <- d.relay.Run(background) })

	if err := d.tell(ctx); err != nil {
		return result, err
	}
	stop()
	if err := <-relayed; err != nil {
		return result, err
	}
	report, err := d.outbox.Verify(context.WithoutCancel(ctx))
	if err != nil {
		return result, err
	}
	result = demoResult{Good: len(report.Problems) == 0, Topics: d.book.judge(config.Topics), Problems: report.Problems}
	for _, v := range result.Topics {
		result.Sent += v.Sent
		result.Good = result.Good && v.good()
	}
	return result, nil
}

// received notes what the subscriber got.
func (d *demo) received(channel string, payload []byte) {
	for topic, c := range d.cfg.Redis.Channels() {
		if c == channel {
			m, _ := schema.Decode(payload) // without an ID it is one that was never sent
			d.book.receive(topic, m.ID)
		}
	}
}

// tell goes through the plan.
func (d *demo) tell(ctx context.Context) error {
	s := d.screen
	s.line(s.colors.bold("matchrelay demo") + " on " + d.redis.name())
	s.line("A made-up FOGIS list changes every second. Each change is stored in the outbox as three")
	s.line("events (started, match update, completed), which the relay publishes and a subscriber")
	s.line("receives. Times count from when the change was stored.")
	s.line("")
	s.header()
	for range d.plan.before {
		if err := d.liveChange(ctx); err != nil {
			return err
		}
	}
	d.redis.stop()
	if d.kills {
		d.book.kill()
	}
	s.event(s.colors.red(d.redis.stopped() + "; the list keeps changing"))
	for range d.plan.outage {
		if err := d.hiddenChange(ctx); err != nil {
			return err
		}
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
	relay.Waiting:   "relay: Redis answers; waiting for the subscriber, lest nobody hears",
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

// conclude writes the closing table.
func (s *screen) conclude(r demoResult, kills bool) {
	header := []any{"topic", "sent", "received", "missing", "repeated", "out of order"}
	if kills {
		header = append(header, "again")
	}
	t := newTable(header...)
	for _, v := range r.Topics {
		row := []any{v.Topic, v.Sent, v.Received, v.Missing, v.Repeated, v.OutOfOrder}
		if kills {
			row = append(row, v.Again)
		}
		t.AppendRow(row)
	}
	for line := range strings.Lines(t.Render()) {
		s.line(strings.TrimRight(line, " \n"))
	}
	if kills {
		s.line("again: published in the 2 s before the kill, and once more after it, with the same message ID")
	}
	s.line("")
	for _, problem := range r.Problems {
		s.line(s.colors.red("outbox: " + problem))
	}
	if !r.Good {
		s.line(s.colors.red("NOT every event arrived once and in order"))
		return
	}
	s.line(s.colors.green(fmt.Sprintf("Every one of %d events arrived, in order; the outbox file verifies.", r.Sent)))
	s.line("Next: make run (the same, staying up), or your own list: matchrelay run --source FILE")
}
