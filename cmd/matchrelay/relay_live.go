package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/relay/control"
)

// livePoll is how often it is looked whether another relay has delivered everything.
const livePoll = 250 * time.Millisecond

// relayUntilEmpty delivers what is pending, wherever the outbox is, also when that changes meanwhile.
func (a *app) relayUntilEmpty(ctx context.Context, cfg *config.Config, log *slog.Logger, create bool, timeout time.Duration) error {
	if create { // there may be none
		o, err := openOutbox(cfg, log, false)
		if err == nil {
			err = o.Close()
		}
		if err != nil && !errors.Is(err, outbox.ErrLocked) {
			return err
		}
	}
	began := time.Now()
	for {
		left := time.Duration(0)
		if timeout > 0 {
			left = max(timeout-time.Since(began), 1)
		}
		err := a.untilEmptyHere(ctx, cfg, log, left)
		if !errors.Is(err, control.ErrNotRunning) && !errors.Is(err, control.ErrLeaseLost) || timeout > 0 && time.Since(began) > timeout || ctx.Err() != nil {
			return err
		}
		log.Info("the outbox changes hands; going on", "reason", err)
		select {
		case <-ctx.Done():
		case <-time.After(livePoll):
		}
	}
}

func (a *app) untilEmptyHere(ctx context.Context, cfg *config.Config, log *slog.Logger, timeout time.Duration) error {
	o, err := openStore(ctx, cfg, log)
	if err != nil {
		return err
	}
	if live, ok := o.(*liveStore); ok {
		err = drainLive(ctx, live, cfg, log, timeout)
	} else {
		own := o.(*outbox.Outbox)
		err = withAPI(ctx, own, cfg, log, func(ctx context.Context) error { return drain(ctx, own, cfg, log, timeout) })
	}
	return errors.Join(err, o.Close())
}

// drainLive delivers over the control socket until nothing is pending, for at most timeout (0 = for ever). While another relay
// drains the outbox, it waits until that has.
func drainLive(ctx context.Context, live *liveStore, cfg *config.Config, log *slog.Logger, timeout time.Duration) error {
	client := newClient(cfg)
	defer client.Close()
	opts := relayOptions(cfg, log)
	opts.UntilEmpty = true
	draining, cancel := context.WithCancel(ctx)
	defer cancel()
	health := make(chan relay.Health, 1)
	if timeout > 0 {
		timer := time.AfterFunc(timeout, func() {
			if s, err := live.look(ctx); err == nil && s.Relay != nil {
				health <- *s.Relay
			}
			cancel()
		})
		defer timer.Stop()
	}
	var other sync.WaitGroup
	err := live.Relay(draining, func(source relay.Source) *relay.Relay {
		return relay.New(source, relay.NewRedis(client, cfg.Redis.SocketTimeout), opts)
	}, func(by string) {
		log.Info("another relay drains the outbox; waiting until it has delivered everything", "relay", by)
		other.Go(func() { endWhenEmpty(draining, live, cancel) })
	})
	cancel()
	other.Wait()
	if err != nil {
		return err
	}
	s, err := live.look(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	return leftover(s.Outbox, health)
}

// endWhenEmpty calls end when nothing is pending.
func endWhenEmpty(ctx context.Context, live *liveStore, end func()) {
	ticker := time.NewTicker(livePoll)
	defer ticker.Stop()
	for {
		s, err := live.look(ctx)
		if err == nil && leftover(s.Outbox, nil) == nil {
			end()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// lookTime is how long the process that has the outbox open may take to tell how it does, once it is known.
const lookTime = 2 * time.Second

// look asks for the status anew.
func (l *liveStore) look(ctx context.Context) (control.Status, error) {
	asking, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	s, err := l.Status(asking)
	if asking.Err() != nil && ctx.Err() == nil {
		err = exit(exitUnreachable, fmt.Errorf("the process that has the outbox open has not answered for %v; look at it, or restart it", lookTime))
	}
	return s, err
}
