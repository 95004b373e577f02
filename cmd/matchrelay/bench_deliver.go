package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// deliveryBench is a Redis, a subscriber, and a relay with a fresh outbox for each measurement.
type deliveryBench struct {
	benchRedis
	channel string
	sub     *arrivals
	payload []byte
	folder  string // of the outboxes
	log     *slog.Logger
}

// benchDelivery measures draining and latency.
func (a *app) benchDelivery(ctx context.Context, cfg *config.Config, plan benchPlan, folder string, report *benchReport, tick func()) (err error) {
	if plan.server != "" {
		var stop func()
		if cfg, stop, err = startBenchRedis(ctx, plan.server, folder); err != nil {
			return err
		}
		defer stop()
	}
	b := deliveryBench{benchRedis: benchRedis{cfg: cfg, client: newClient(cfg)}, channel: "matchrelay:bench:" + uuid.NewString(),
		payload: noise(benchBytes), folder: folder, log: a.loggerAt(slog.LevelWarn)}
	defer b.client.Close()
	defer context.AfterFunc(ctx, func() { _ = b.client.Close() })()
	if plan.server == "" { // one of our own takes its keys along
		defer func() { err = b.clean(ctx, err) }()
	}
	var info map[string]map[string]string
	if err := b.ask(ctx, func(ctx context.Context) (err error) {
		info, err = b.client.InfoMap(ctx, "server").Result()
		return err
	}); err != nil {
		return err
	}
	report.Against.Redis = info["Server"]["redis_version"] + " at " + b.addrs()
	var unsubscribe func()
	if b.sub, unsubscribe, err = b.subscribe(ctx, b.channel); err != nil {
		return err
	}
	defer unsubscribe()

	f, ratio, err := inTurns(plan.rounds,
		func() (float64, error) { return b.drain(ctx, plan.drained, false) },
		func() (float64, error) {
			return b.pipelined(ctx, plan.drained, func(ctx context.Context, pipe redis.Pipeliner) { pipe.Publish(ctx, b.channel, b.payload) })
		}, tick)
	if err != nil {
		return fmt.Errorf("measure draining: %w", err)
	}
	report.DrainPubSub = &pubsubFigure{f, ratio}
	entry := []any{"specversion", "1.0", "id", uuid.NewString(), "source", "/bench", "type", "bench", "time", time.Now().Format(time.RFC3339Nano),
		"subject", b.channel, "sequence", "1", "origin", uuid.NewString(), "data", b.payload} // that of a relay
	plain := "{" + b.channel + "}:plain"
	b.keys = append(b.keys, plain, relay.StreamKey(b.channel))
	f, ratio, err = inTurns(plan.rounds,
		func() (float64, error) { return b.drain(ctx, plan.drained, true) },
		func() (float64, error) {
			return b.pipelined(ctx, plan.drained, func(ctx context.Context, pipe redis.Pipeliner) {
				pipe.XAdd(ctx, &redis.XAddArgs{Stream: plain, MaxLen: relay.DefaultStreamMaxLen, Approx: true, Values: entry})
				pipe.Publish(ctx, b.channel, b.payload)
			})
		}, tick)
	if err != nil {
		return fmt.Errorf("measure draining with streams: %w", err)
	}
	report.DrainStream = &streamFigure{f, ratio}
	if report.Latency, err = b.latency(ctx, plan.trips); err != nil {
		return fmt.Errorf("measure the latency: %w", err)
	}
	tick()
	return nil
}

// withOutbox lets use have a fresh outbox, which is removed after it.
func (b *deliveryBench) withOutbox(ctx context.Context, use func(box *outbox.Outbox) error) (err error) {
	path := filepath.Join(b.folder, "drained.db")
	box, err := outbox.Open(path, outbox.Options{Logger: b.log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, box.Close(), os.Remove(path)) }()
	stats, err := box.Stats(ctx)
	if err != nil {
		return err
	}
	b.keys = append(b.keys, relay.MarkKey(b.channel, stats.Origin))
	return use(box)
}

func (b *deliveryBench) events(n int) []outbox.Event {
	events := make([]outbox.Event, n)
	for i := range events {
		events[i] = outbox.Event{Topic: "bench", MessageID: uuid.NewString(), Payload: b.payload}
	}
	return events
}

// relay runs a relay until stop is called. When ctx ends, it waits for no answer.
func (b *deliveryBench) relay(ctx context.Context, box *outbox.Outbox, streams bool) (stop func() error) {
	target := relay.NewRedis(b.client, b.cfg.Redis.SocketTimeout)
	spare := context.AfterFunc(ctx, target.Abort)
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	r := relay.New(box, target, relay.Options{Channels: map[string]string{"bench": b.channel}, Streams: streams,
		BytesPerSecond: int(b.cfg.Relay.MaxBytesPerSecond), Logger: b.log})
	go func() { ended <- r.Run(ctx) }()
	return func() error {
		defer spare()
		cancel()
		return <-ended
	}
}

// drain appends events and returns how many a second reach the subscriber when a relay begins.
func (b *deliveryBench) drain(ctx context.Context, n int, streams bool) (perSecond float64, err error) {
	err = b.withOutbox(ctx, func(box *outbox.Outbox) error {
		for left := n; left > 0; left -= 1000 {
			if _, err := box.Add(ctx, b.events(min(left, 1000))...); err != nil {
				return err
			}
		}
		b.sub.expect(n)
		began := time.Now()
		stop := b.relay(ctx, box, streams)
		err := b.sub.wait(ctx)
		perSecond = rate(n, began)
		return errors.Join(err, stop())
	})
	return perSecond, err
}

// pipelined sends as many messages in pipelines of 512, on one connection.
func (b *deliveryBench) pipelined(ctx context.Context, n int, command func(context.Context, redis.Pipeliner)) (float64, error) {
	b.sub.expect(n)
	began := time.Now()
	for left := n; left > 0; left -= 512 {
		if err := b.ask(ctx, func(ctx context.Context) error {
			pipe := b.client.Pipeline()
			for range min(left, 512) {
				command(ctx, pipe)
			}
			_, err := pipe.Exec(ctx)
			return err
		}); err != nil {
			return 0, err
		}
	}
	err := b.sub.wait(ctx)
	return rate(n, began), err
}

// rest makes a system idle: processor caches are cold, and threads asleep.
const rest = 2 * time.Millisecond

// latency is the time from the return of Add to the arrival at the subscriber on an idle system, in turns with one PUBLISH.
func (b *deliveryBench) latency(ctx context.Context, trips int) (*latencyFigure, error) {
	ms := func(began time.Time) float64 { return float64(time.Since(began).Microseconds()) / 1000 }
	var arrived, published []float64
	err := b.withOutbox(ctx, func(box *outbox.Outbox) (err error) {
		stop := b.relay(ctx, box, false)
		defer func() { err = errors.Join(err, stop()) }()
		for range trips {
			time.Sleep(rest)
			b.sub.expect(1)
			if _, err := box.Add(ctx, b.events(1)...); err != nil {
				return err
			}
			began := time.Now()
			if err := b.sub.wait(ctx); err != nil {
				return err
			}
			arrived = append(arrived, ms(began))
			time.Sleep(rest)
			b.sub.expect(1)
			began = time.Now()
			if err := b.ask(ctx, func(ctx context.Context) error { return b.client.Publish(ctx, b.channel, b.payload).Err() }); err != nil {
				return err
			}
			published = append(published, ms(began))
			if err := b.sub.wait(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	l := &latencyFigure{P50: quantile(arrived, 0.5), P99: quantile(arrived, 0.99), Publish: quantile(published, 0.5)}
	l.Ratio = l.P50 / l.Publish
	return l, nil
}
