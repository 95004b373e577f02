package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/relay/control"
)

func (a *app) healthcheckCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Say whether the process that has the outbox open is alive, for container health checks",
		Long: `Healthcheck asks the process that has the outbox open: exit code 0 when it is healthy, or degraded: Redis, or subscribers,
are away, or the relay is paused, while events wait in the outbox and a restart would not help; 1 when it is unhealthy,
that is, it takes no more events, or its relay has ended; 4 when no process answers in time.

Of the settings it reads only where the outbox and its socket are. Use status --check to watch what waits.`,
		Example: `  HEALTHCHECK --interval=30s --timeout=10s CMD ["matchrelay", "healthcheck"]`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout <= 0 {
				return errNoLimit
			}
			return a.healthcheck(cmd.Context(), timeout)
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long the process may take to answer")
	return cmd
}

func (a *app) healthcheck(ctx context.Context, timeout time.Duration) (err error) {
	cfg, err := config.Load(config.Options{Environ: a.environ, EnvFile: a.envFile, Overrides: map[string]string{"MATCHRELAY_DB": a.db},
		Only: []string{"MATCHRELAY_DB", "MATCHRELAY_SOCKET", "DATA_FOLDER"}})
	if err != nil {
		return err
	}
	health, err := askHealth(ctx, cfg, timeout)
	if err != nil {
		return err
	}
	err = a.print(health, func(w io.Writer) {
		line := string(health.Status)
		if health.Reason != "" {
			line += ": " + health.Reason
		}
		fmt.Fprintln(w, brief(line))
	})
	if health.Status == control.Unhealthy {
		err = errors.Join(err, exit(exitFailure, errors.New("unhealthy; restart the process")))
	}
	return err
}

// askHealth asks the process that has the outbox open. It needs nothing of the file: that may be damaged.
func askHealth(ctx context.Context, cfg *config.Config, timeout time.Duration) (health control.Health, err error) {
	asking, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	live, err := control.DialFor(cfg.Outbox.Socket, cfg.Outbox.Path)
	if errors.Is(err, fs.ErrPermission) {
		return health, exit(exitUnreachable, fmt.Errorf("%w; run as the user who owns it", err))
	}
	if err != nil {
		return health, err
	}
	if health, err = live.Health(asking); err == nil {
		err = isConfigured(health.File, cfg)
	}
	if err != nil && asking.Err() != nil && ctx.Err() == nil {
		err = exit(exitUnreachable, fmt.Errorf("control socket %s: no answer within %v; look at the process, or restart it", cfg.Outbox.Socket, timeout))
	}
	return health, errors.Join(err, live.Close())
}
