package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/relay"
)

// livePoll is how often it is looked whether another relay has delivered everything.
const livePoll = 250 * time.Millisecond

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
			if s, err := live.Status(ctx); err == nil && s.Relay != nil {
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
	s, err := live.Status(context.WithoutCancel(ctx))
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
		s, err := live.Status(ctx)
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
