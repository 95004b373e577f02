package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/relay/control"
)

// serveControl serves the control socket until ctx ends. Without it the program does its work all the same.
func serveControl(ctx context.Context, o *outbox.Outbox, r *relay.Relay, cfg *config.Config, log *slog.Logger) {
	routes, err := newRoutes(o, cfg, log)
	if err == nil {
		err = control.Serve(ctx, control.Options{Outbox: o, Relay: r, Path: cfg.Outbox.Socket, Routes: routes, Logger: log})
	}
	if err != nil {
		log.Error("other commands cannot reach this process while it has the file; events are delivered all the same", "error", err)
	}
}

// runServed runs a relay and serves the control socket beside it.
func runServed(ctx context.Context, o *outbox.Outbox, r *relay.Relay, cfg *config.Config, log *slog.Logger) error {
	serving, stop := context.WithCancel(ctx)
	var served sync.WaitGroup
	served.Go(func() { serveControl(serving, o, r, cfg, log) })
	err := r.Run(ctx)
	stop()
	served.Wait()
	return err
}

// store is an outbox: this process's own, or through the control socket that of the one that has the file open.
type store interface {
	List(ctx context.Context, f outbox.Filter) ([]outbox.Info, error)
	Get(ctx context.Context, sequence uint64) (outbox.Entry, outbox.Info, error)
	Replay(ctx context.Context, sequences []uint64, opts outbox.ReplayOptions) (outbox.ReplayResult, error)
	Discard(ctx context.Context, sequences []uint64, opts outbox.DiscardOptions) (outbox.DiscardResult, error)
	Audit(ctx context.Context, limit int) ([]outbox.AuditEntry, error)
	Close() error
}

// liveStore is an outbox that another process has open, with the status that it told at first.
type liveStore struct {
	*control.Client
	status control.Status
}

// comingUp is how long a process that has just opened the file may take until it serves the socket, on a busy machine; and one that
// has ended serving it, until it has closed the file. lookAgain is the time between two looks.
const comingUp, lookAgain = 5 * time.Second, 50 * time.Millisecond

// openStore connects to the process that has the outbox open, or opens the file, which must exist. The store is a
// *liveStore or an *outbox.Outbox.
func openStore(ctx context.Context, cfg *config.Config, log *slog.Logger) (store, error) {
	return openWith(ctx, cfg, outboxOptions(cfg, log, true))
}

// openToRead is openStore for commands that only read: where the file may not be written, they need no right to.
func openToRead(ctx context.Context, cfg *config.Config, log *slog.Logger) (store, error) {
	opts := outboxOptions(cfg, log, true)
	s, err := openWith(ctx, cfg, opts)
	if errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission) {
		opts.ReadOnly = true
		if reader, readErr := openWith(ctx, cfg, opts); readErr == nil {
			return reader, nil
		}
	}
	return s, err
}

func openWith(ctx context.Context, cfg *config.Config, opts outbox.Options) (store, error) {
	for until := time.Now().Add(comingUp); ; {
		live, err := dialOwner(ctx, cfg)
		if err == nil {
			return live, nil
		}
		if !errors.Is(err, control.ErrNotRunning) && !errors.Is(err, errOtherOutbox) {
			return nil, err
		}
		o, err := outbox.Open(cfg.Outbox.Path, opts)
		if err == nil {
			return o, nil
		}
		if !errors.Is(err, outbox.ErrLocked) || time.Now().After(until) || wait(ctx, lookAgain) != nil {
			return nil, err
		}
	}
}

var errOtherOutbox = errors.New("the process that serves the control socket has another outbox open")

// answerTime is how long the process that serves the socket may take to answer first; tests shorten it.
var answerTime = 10 * time.Second

// dialOwner connects to the process that has the configured outbox open. Errors: control.ErrNotRunning, errOtherOutbox.
func dialOwner(ctx context.Context, cfg *config.Config) (*liveStore, error) {
	live, err := control.DialFor(cfg.Outbox.Socket, cfg.Outbox.Path)
	if err != nil {
		return nil, err
	}
	asking, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	status, err := live.Status(asking)
	switch {
	case err != nil && asking.Err() != nil && ctx.Err() == nil:
		err = exit(exitUnreachable, fmt.Errorf("control socket %s: the process that serves it has not answered for %v; look at it, or restart it", cfg.Outbox.Socket, answerTime))
	case err == nil:
		err = isConfigured(status.File, cfg)
	}
	if err != nil {
		return nil, errors.Join(err, live.Close())
	}
	return &liveStore{live, status}, nil
}

// isConfigured makes errOtherOutbox of a file that is not the configured one.
func isConfigured(file control.File, cfg *config.Config) error {
	if info, err := os.Stat(cfg.Outbox.Path); err != nil || file.Is(info) {
		return nil
	}
	return fmt.Errorf("control socket %s: %w, %s; give each a socket of its own with MATCHRELAY_SOCKET", cfg.Outbox.Socket, errOtherOutbox, file.Path)
}

// steerCommands are those that need a running relay.
func (a *app) steerCommands() []*cobra.Command {
	command := func(use, short, long, done string, do func(*control.Client, context.Context) (relay.Health, error)) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Long: long, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return a.steer(cmd.Context(), done, do) }}
	}
	const needs = "\n\nIt exits with 4 when no process that serves the control socket has the outbox open."
	return []*cobra.Command{
		command("pause", "Let the running relay publish nothing for now",
			"Pause lets the running relay publish nothing until resume, whatever happens to Redis; events wait in the outbox.\nThe relay and the process that has the outbox open remember it: it is over when both have ended."+needs,
			"the relay is paused: events wait in the outbox; go on with: matchrelay resume", (*control.Client).Pause),
		command("resume", "Let the relay go on after pause", "Resume lets a paused relay go on."+needs,
			"the relay goes on", (*control.Client).Resume),
		command("retry-now", "Let the running relay try again at once",
			"Retry-now ends the wait between two tries to reach Redis."+needs,
			"the relay tries again now; see how it does with: matchrelay status", (*control.Client).RetryNow),
	}
}

func (a *app) steer(ctx context.Context, done string, do func(*control.Client, context.Context) (relay.Health, error)) (err error) {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	live, err := dialOwner(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, live.Close()) }()
	health, err := do(live.Client, ctx)
	if err != nil {
		return err
	}
	return a.print(newRelayStatus(health), func(w io.Writer) { fmt.Fprintln(w, done) })
}
