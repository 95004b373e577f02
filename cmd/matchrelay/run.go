package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay/control"
)

// runOptions are the flags of run.
type runOptions struct {
	source       string
	interval     time.Duration
	once         bool
	noRelay      bool
	dev          bool
	drainTimeout time.Duration
}

func (a *app) runCommand() *cobra.Command {
	var opts runOptions
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run processor and relay in one process",
		Long: `Run fetches the match list, records what changed in the outbox and relays it to Redis, until SIGTERM or Ctrl-C.

A file is looked at once a second and read when it changes, and every interval; a URL is fetched every interval, with
30 s and 64 MiB at most; redirects are followed on the same host and port only, and from http to https. Without --source it is FOGIS_API_CLIENT_URL with /matches appended. A list that cannot be had
makes a failed cycle, with an alert, and the next one comes as usual. An outbox without a list first imports the one of
PREVIOUS_MATCHES_FILE (which the Python integration saved), so that only what changed since is told.
Other commands (status, events, pause) reach it through the control socket. With --no-relay that is how matchrelay relay
delivers, in a process of its own; one that has the file open hands it over to run.

With --dev it needs nothing: an embedded Redis, a made-up list that changes every few seconds, a subscriber that prints
what it gets, a temporary outbox; --redis-url, --source and --db replace theirs. Settings are then not read from the
environment or .env, so that it meets no real Redis by accident.`,
		Example: `  matchrelay run --dev
  matchrelay run --source my-list.json --redis-url redis://localhost:6379`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opts.interval <= 0 && cmd.Flags().Changed("interval") {
				return usageError(errors.New("--interval: expected more than 0, such as 5m"))
			}
			return a.runProcessor(cmd.Context(), opts)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.source, "source", "", "match list: a file, or the full http:// or https:// URL")
	flags.DurationVar(&opts.interval, "interval", 0, "time between two cycles (SERVICE_INTERVAL, default 5m)")
	flags.BoolVar(&opts.once, "once", false, "one cycle, then deliver what is pending and exit (RUN_MODE=oneshot)")
	flags.BoolVar(&opts.noRelay, "no-relay", false, "deliver nothing: matchrelay relay does, in a process of its own")
	flags.BoolVar(&opts.dev, "dev", false, "bring along Redis, list, subscriber and outbox")
	flags.DurationVar(&opts.drainTimeout, "drain-timeout", 30*time.Second, "with --once: how long to deliver")
	return cmd
}

func (a *app) runProcessor(ctx context.Context, opts runOptions) error {
	overrides := map[string]string{}
	if opts.interval != 0 {
		overrides["SERVICE_INTERVAL"] = opts.interval.String()
	}
	if opts.once {
		overrides["RUN_MODE"] = string(config.OneShot)
	}
	var kit *devKit
	if opts.dev {
		var err error
		if kit, err = a.startDevKit(); err != nil {
			return err
		}
		defer kit.close()
	}
	cfg, err := a.load(overrides)
	if err != nil {
		return err
	}
	log := a.logger(cfg)
	for _, note := range cfg.Notes() {
		log.Warn(note)
	}
	var src source
	if src, err = newSource(opts.source, cfg); err != nil {
		return err
	}
	if kit != nil {
		if opts.source == "" {
			src = newFeedSource()
		}
		kit.listen(a, cfg)
	} else if err := checkPrevious(cfg); err != nil {
		return err
	}
	o, err := control.Open(ctx, cfg.Outbox.Path, cfg.Outbox.Socket, outboxOptions(cfg, log, false))
	if err != nil {
		return err
	}
	recorder, err := newRecorder(o, cfg, log)
	if err != nil {
		return errors.Join(err, o.Close())
	}
	if kit == nil {
		if err := importPrevious(ctx, recorder, cfg, log); err != nil {
			return errors.Join(err, o.Close())
		}
	}
	p := &processor{cfg: cfg, log: log, source: src, outbox: o, recorder: recorder, relays: cfg.Redis.Enabled && !opts.noRelay}
	log.Info("matchrelay runs", "version", programVersion(), "source", src.String(), "db", o.Path(), "redis", cfg.Redis.Server.Addrs)
	err = withAPI(ctx, o, cfg, log, func(ctx context.Context) error {
		if cfg.Processor.RunMode == config.OneShot {
			return p.runOnce(ctx, opts.drainTimeout)
		}
		return p.run(ctx)
	})
	if err := errors.Join(err, o.Close()); err != nil {
		return err
	}
	log.Info("matchrelay has ended")
	return nil
}

// processor fetches and records match lists, beside a relay.
type processor struct {
	cfg      *config.Config
	log      *slog.Logger
	source   source
	outbox   *outbox.Outbox
	recorder *changes.Recorder
	relays   bool // deliver as well
}

// run works until ctx ends, and then returns nil; an error means that the outbox does not work any more.
func (p *processor) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	if p.relays {
		group.Go(func() error { return relayFor(ctx, p.outbox, p.cfg, p.log) })
	} else {
		if !p.cfg.Redis.Enabled {
			p.log.Warn("REDIS_PUBSUB_ENABLED is false: changes are recorded, nothing is published")
		}
		group.Go(func() error {
			serveControl(ctx, p.outbox, nil, p.cfg, p.log)
			return nil
		})
	}
	group.Go(func() error {
		for ctx.Err() == nil {
			if err := p.cycle(ctx); unusable(err) {
				return err
			}
			p.source.wait(ctx, p.cfg.Processor.Interval)
		}
		return nil
	})
	return group.Wait()
}

// runOnce makes one cycle and delivers what is pending, also when the cycle failed: that is an event as well.
func (p *processor) runOnce(ctx context.Context, timeout time.Duration) error {
	err := p.servedCycle(ctx)
	if unusable(err) || !p.relays {
		return err
	}
	left := drain(ctx, p.outbox, p.cfg, p.log, timeout)
	if err != nil && left != nil {
		p.log.Error("the failure is not told to subscribers yet", "error", left)
	}
	if err != nil {
		return err
	}
	return left
}

// servedCycle makes one cycle, and serves the control socket beside it.
func (p *processor) servedCycle(ctx context.Context) error {
	serving, stop := context.WithCancel(ctx)
	var served sync.WaitGroup
	served.Go(func() { serveControl(serving, p.outbox, nil, p.cfg, p.log) })
	defer served.Wait()
	defer stop()
	return p.cycle(ctx)
}

// cycle makes one cycle and tells its outcome.
func (p *processor) cycle(ctx context.Context) error {
	summary, err := p.recorder.Cycle(ctx, p.source.fetch)
	switch {
	case err == nil && !summary.Changed(): // the recorder tells of changes
		p.log.Info("nothing changed", "matches", summary.Matches)
	case err == nil:
	case ctx.Err() != nil:
		p.log.Info("cycle interrupted")
	default:
		p.log.Error("cycle failed; the next one comes as usual", "error", err)
	}
	return err
}

// unusable says whether only a restart helps.
func unusable(err error) bool {
	return errors.Is(err, outbox.ErrFailed) || errors.Is(err, outbox.ErrClosed)
}
