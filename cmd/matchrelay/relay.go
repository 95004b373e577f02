package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/relay/control"
)

func (a *app) relayCommand() *cobra.Command {
	var untilEmpty, create bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "relay",
		Short: "Deliver what is in the outbox, in a process of its own",
		Long: `Relay delivers what is in the outbox until SIGTERM or Ctrl-C, or with --until-empty until nothing is pending.

While a processor has the file open, such as matchrelay run --no-relay, it works through the control socket that the
processor serves. When no process has the file, it opens it itself; a processor that wants it then gets it within a
second. One relay delivers at a time: others stand by, and one of them takes over when that ends, or hangs while a processor
has the file. (A relay that hangs while it has the file itself has to be ended: see matchrelay healthcheck.) While it has the
file, processors in other languages hand their match lists over to it (also on MATCHRELAY_HTTP_ADDR).

With --timeout it exits with 4 when Redis does not answer by then, and with 6 when events wait for something else.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout != 0 && !untilEmpty {
				return usageError(errors.New("--timeout needs --until-empty"))
			}
			return a.relay(cmd.Context(), create, untilEmpty, timeout)
		},
	}
	cmd.Flags().BoolVar(&create, "create", false, "make the outbox if there is none, for a processor that hands its lists over")
	cmd.Flags().BoolVar(&untilEmpty, "until-empty", false, "exit when nothing is pending")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "with --until-empty: how long to try (default: for ever)")
	return cmd
}

func (a *app) relay(ctx context.Context, create, untilEmpty bool, timeout time.Duration) error {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	if !cfg.Redis.Enabled {
		return usageError(errors.New("REDIS_PUBSUB_ENABLED is false: nothing is relayed; set it to true"))
	}
	log := a.logger(cfg)
	for _, note := range cfg.Notes() {
		log.Warn(note)
	}
	if untilEmpty {
		return a.relayUntilEmpty(ctx, cfg, log, create, timeout)
	}
	log.Info("relay runs", "version", programVersion(), "db", cfg.Outbox.Path, "redis", cfg.Redis.Server.Addrs)
	err = control.Drain(ctx, control.DrainOptions{
		Path:   cfg.Outbox.Path,
		Socket: cfg.Outbox.Socket,
		Outbox: outboxOptions(cfg, log, !create),
		Relay: func(source relay.Source) (*relay.Relay, func()) {
			client := newClient(cfg)
			target := relay.NewRedis(client, cfg.Redis.SocketTimeout)
			return relay.New(source, target, relayOptions(cfg, log)), func() {
				target.Abort()
				_ = client.Close()
			}
		},
		Routes: func(o *outbox.Outbox) ([]control.Route, error) { return newRoutes(o, cfg, log) },
		While: func(ctx context.Context, o *outbox.Outbox, drain func(context.Context) error) error {
			return withAPI(ctx, o, cfg, log, drain)
		},
		Logger: log,
	})
	if err == nil {
		log.Info("relay has ended")
	}
	return err
}

// relayFor delivers until ctx ends.
func relayFor(ctx context.Context, o *outbox.Outbox, cfg *config.Config, log *slog.Logger) error {
	client := newClient(cfg)
	defer client.Close()
	r := relay.New(o, relay.NewRedis(client, cfg.Redis.SocketTimeout), relayOptions(cfg, log))
	return runServed(ctx, o, r, cfg, log)
}

// drain delivers until nothing is pending, for at most timeout (0 = for ever). What is left stays in the outbox; the
// error says why and has the exit code.
func drain(ctx context.Context, o *outbox.Outbox, cfg *config.Config, log *slog.Logger, timeout time.Duration) error {
	client := newClient(cfg)
	defer client.Close()
	opts := relayOptions(cfg, log)
	opts.UntilEmpty = true
	r := relay.New(o, relay.NewRedis(client, cfg.Redis.SocketTimeout), opts)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	health := make(chan relay.Health, 1)
	if timeout > 0 {
		timer := time.AfterFunc(timeout, func() {
			health <- r.Health() // now, for it ends with Run
			cancel()
		})
		defer timer.Stop()
	}
	if err := runServed(ctx, o, r, cfg, log); err != nil {
		return err
	}
	stats, err := o.Stats(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	return leftover(stats, health)
}

// leftover says what is still pending and why: health holds the relay's state if its time was up.
func leftover(stats outbox.Stats, health <-chan relay.Health) error {
	pending := 0
	for _, t := range stats.Topics {
		pending += int(t.Pending)
	}
	if pending == 0 {
		return nil
	}
	code, why := exitPartly, "it was interrupted"
	select {
	case h := <-health:
		why = "the time is up"
		if h.LastError != "" {
			why += ": " + h.LastError
		}
		if h.State == relay.RedisDown {
			code = exitUnreachable
		}
	default:
	}
	return exit(code, fmt.Errorf("%s left in the outbox, where nothing is lost (%s); deliver with: matchrelay relay --until-empty",
		count(pending, "event"), why))
}
