package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/schema"
)

// demoLimit ends a demo that hangs; on a machine with nothing else to do it takes 20 seconds.
const demoLimit = 2 * time.Minute

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

With --redis-server it uses a real redis-server, which it kills with SIGKILL. What was published in about the last second before
the kill may then come again, in order and with the same message IDs: a subscriber may not have been served yet.`,
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
	l := newListener(subscriberClient, channelsOf(d.cfg), d.received)
	ended.Go(func() { l.run(background) })
	relayed := make(chan error, 1)
	ended.Go(func() { relayed <- d.relay.Run(background) })

	select {
	case <-l.subscribed:
	case <-ctx.Done():
	}
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
