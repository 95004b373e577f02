package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/changes/api"
	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/relay/control"
	"github.com/PitchConnect/matchrelay/schema"
)

// newAPI makes the API on an outbox that this process has open.
func newAPI(o *outbox.Outbox, cfg *config.Config, log *slog.Logger) (*api.API, error) {
	recorder, err := newRecorder(o, cfg, nil)
	if err != nil {
		return nil, err
	}
	return api.New(recorder, api.Options{
		Previous:     func() ([]schema.Match, bool, error) { return readPrevious(cfg) },
		PreviousName: cfg.Processor.PreviousMatches,
		Now:          clock,
		Logger:       log,
	}), nil
}

func newRoutes(o *outbox.Outbox, cfg *config.Config, log *slog.Logger) ([]control.Route, error) {
	a, err := newAPI(o, cfg, log)
	if err != nil {
		return nil, err
	}
	return a.Routes(), nil
}

// withAPI works beside the API on MATCHRELAY_HTTP_ADDR, if that is set. Who has configured it relies on it, so nothing is
// done without it: the work is cancelled when the API cannot be served any more.
func withAPI(ctx context.Context, o *outbox.Outbox, cfg *config.Config, log *slog.Logger, work func(ctx context.Context) error) error {
	if limit, enough := descriptors(); !enough {
		log.Warn("few open files are allowed: control socket and port serve fewer clients at once, and connections to a large Cluster may fail; "+raiseDescriptors, "limit", limit, "needed", enoughDescriptors)
	}
	if !cfg.HTTP.On() {
		return work(ctx)
	}
	routes, err := newRoutes(o, cfg, log)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", cfg.HTTP.Addr)
	if err != nil {
		return explainListen(err)
	}
	group, ctx := errgroup.WithContext(ctx)
	serving, stop := context.WithCancel(ctx)
	group.Go(func() error {
		err := control.ServeTCP(serving, control.TCPOptions{Listener: listener, Token: string(cfg.HTTP.Token), Routes: routes, Logger: log})
		if err != nil {
			err = fmt.Errorf("MATCHRELAY_HTTP_ADDR: %w", err)
		}
		return err
	})
	group.Go(func() error {
		defer stop()
		return work(ctx)
	})
	return group.Wait()
}

func explainListen(err error) error {
	next := "set another address"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		next = "another program listens there: stop it, or set another port"
	case errors.Is(err, syscall.EACCES):
		next = "set a port from 1024 on"
	}
	return fmt.Errorf("MATCHRELAY_HTTP_ADDR: %w; %s, or off", err, next)
}

// matchStore is the recorded match list: this process's own, or through the control socket that of the one that has the
// file open.
type matchStore interface {
	Matches(ctx context.Context, at time.Time) ([]schema.Match, error)
	Outlines(ctx context.Context, at time.Time) ([]schema.Outline, error)
	Match(ctx context.Context, id string, at time.Time) (schema.Match, error)
	Outline(ctx context.Context, id string, at time.Time) (schema.Outline, error)
	History(ctx context.Context, id string, raw bool) ([]api.Change, error)
	Record(ctx context.Context, matches []schema.Match, meta changes.Metadata) (changes.Counts, error)
	Preview(ctx context.Context, matches []schema.Match, meta changes.Metadata) (changes.Counts, error)
	Resync(ctx context.Context, by changes.Operator) (changes.Resynced, error)
	PreviewResync(ctx context.Context) (changes.Resynced, error)
}

// opener is openStore or openToRead.
type opener func(ctx context.Context, cfg *config.Config, log *slog.Logger) (store, error)

// withMatches calls do with the recorded match list, and gives the file or the connection back then. The file must exist.
func (a *app) withMatches(ctx context.Context, cfg *config.Config, open opener, do func(matchStore) error) (err error) {
	log := a.logger(cfg)
	s, err := open(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	switch s := s.(type) {
	case *liveStore:
		relayed := s.status.Relay != nil && s.status.Relay.State != relay.NotRunning
		return do(liveMatches{api.NewClient(s.Client), relayed})
	case *outbox.Outbox:
		return withOwn(s, cfg, log, do)
	}
	return fmt.Errorf("a %T holds no match list", s)
}

// liveMatches are those of a process that has the file open.
type liveMatches struct {
	*api.Client
	relayed bool // a relay drains its outbox
}

// delivery says how an event that was stored is delivered.
func delivery(s matchStore) string {
	if live, ok := s.(liveMatches); ok && live.relayed {
		return "the running relay delivers it"
	}
	return "deliver it with: matchrelay relay --until-empty"
}

func withOwn(o *outbox.Outbox, cfg *config.Config, log *slog.Logger, do func(matchStore) error) error {
	store, err := newAPI(o, cfg, log)
	if err != nil {
		return err
	}
	return do(store)
}
