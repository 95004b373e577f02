package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// arrivals is a subscriber that counts.
type arrivals struct {
	n    atomic.Int64
	want atomic.Int64
	done chan struct{}
}

func subscribeCounting(ctx context.Context, client redis.UniversalClient, channel string) (*arrivals, func(), error) {
	pubsub := client.Subscribe(ctx, channel)
	if _, err := pubsub.Receive(ctx); err != nil {
		return nil, nil, errors.Join(err, pubsub.Close())
	}
	a, ended := &arrivals{done: make(chan struct{}, 1)}, make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if _, err := pubsub.Receive(ctx); err != nil {
				return
			}
			if a.n.Add(1) == a.want.Load() {
				a.done <- struct{}{}
			}
		}
	}()
	return a, func() {
		_ = pubsub.Close() // ends Receive; nothing was sent that could be lost
		<-ended
	}, nil
}

// expect says how many more messages wait is to wait for.
func (a *arrivals) expect(n int) { a.want.Store(a.n.Load() + int64(n)) }

// stalled is how long nothing may arrive.
const stalled = 30 * time.Second

func (a *arrivals) wait(ctx context.Context) error {
	ticker := time.NewTicker(stalled)
	defer ticker.Stop()
	for before := int64(-1); ; {
		select {
		case <-a.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		now := a.n.Load()
		if now == before {
			return exit(exitUnreachable, fmt.Errorf("nothing has arrived for %v; look at Redis with: matchrelay doctor", stalled))
		}
		before = now
	}
}

// deliveryBench is an outbox, a Redis and a subscriber.
type deliveryBench struct {
	cfg     *config.Config
	box     *outbox.Outbox
	client  redis.UniversalClient
	channel string
	sub     *arrivals
	payload []byte
}

// benchDelivery measures draining and latency.
func (a *app) benchDelivery(ctx context.Context, cfg *config.Config, plan benchPlan, folder string, report *benchReport, tick func()) (err error) {
	cfg, stop, err := a.benchConfig(ctx, cfg, plan.server, folder)
	if err != nil {
		return err
	}
	defer stop()
	b := deliveryBench{cfg: cfg, client: newClient(cfg), channel: "matchrelay:bench:" + uuid.NewString(), payload: noise(benchBytes)}
	defer func() { err = errors.Join(err, b.client.Close()) }()
	info, err := b.client.InfoMap(ctx, "server").Result()
	if err != nil {
		return exit(exitUnreachable, fmt.Errorf("measure Redis at %s: %w; name another one with --redis-url, start one with --redis-server, or leave Redis out with --only append",
			strings.Join(cfg.Redis.Server.Addrs, ", "), err))
	}
	report.Against.Redis = info["Server"]["redis_version"] + " at " + strings.Join(cfg.Redis.Server.Addrs, ", ")
	if b.box, err = outbox.Open(filepath.Join(folder, "drained.db"), outbox.Options{}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.box.Close()) }()
	var unsubscribe func()
	if b.sub, unsubscribe, err = subscribeCounting(ctx, b.client, b.channel); err != nil {
		return err
	}
	defer unsubscribe()
	defer func() { err = errors.Join(err, b.clean(context.WithoutCancel(ctx))) }()

	f, ratio, err := inTurns(plan.rounds,
		func() (float64, error) { return b.drain(ctx, plan.drained, false) },
		func() (float64, error) {
			return b.pipelined(ctx, plan.drained, func(pipe redis.Pipeliner) { pipe.Publish(ctx, b.channel, b.payload) })
		}, tick)
	if err != nil {
		return fmt.Errorf("measure draining: %w", err)
	}
	report.DrainPubSub = &pubsubFigure{f, ratio}
	entry := []any{"specversion", "1.0", "id", uuid.NewString(), "source", "/bench", "type", "bench", "time", time.Now().Format(time.RFC3339Nano),
		"subject", b.channel, "sequence", "1", "origin", uuid.NewString(), "data", b.payload} // that of a relay
	f, ratio, err = inTurns(plan.rounds,
		func() (float64, error) { return b.drain(ctx, plan.drained, true) },
		func() (float64, error) {
			return b.pipelined(ctx, plan.drained, func(pipe redis.Pipeliner) {
				pipe.XAdd(ctx, &redis.XAddArgs{Stream: b.plainStream(), MaxLen: relay.DefaultStreamMaxLen, Approx: true, Values: entry})
				pipe.Publish(ctx, b.channel, b.payload)
			})
		}, tick)
	if err != nil {
		return fmt.Errorf("measure draining with streams: %w", err)
	}
	report.DrainStream = &streamFigure{f, ratio}
	report.Latency, err = b.latency(ctx, plan.trips)
	tick()
	return err
}

func (b *deliveryBench) plainStream() string { return "{" + b.channel + "}:plain" }

// clean removes the keys.
func (b *deliveryBench) clean(ctx context.Context) error {
	stats, err := b.box.Stats(ctx)
	if err != nil {
		return err
	}
	keys := []string{b.plainStream(), relay.StreamKey(b.channel), relay.MarkKey(b.channel, stats.Origin)}
	if err := b.client.Del(ctx, keys...).Err(); err != nil {
		return fmt.Errorf("remove the keys of the measurement: %w; remove %s by hand", err, strings.Join(keys, ", "))
	}
	return nil
}

func (b *deliveryBench) events(n int) []outbox.Event {
	events := make([]outbox.Event, n)
	for i := range events {
		events[i] = outbox.Event{Topic: "bench", MessageID: uuid.NewString(), Payload: b.payload}
	}
	return events
}

// relay runs a relay until stop is called.
func (b *deliveryBench) relay(ctx context.Context, streams bool) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	r := relay.New(b.box, relay.NewRedis(b.client, b.cfg.Redis.SocketTimeout), relay.Options{
		Channels: map[string]string{"bench": b.channel}, Streams: streams, BytesPerSecond: int(b.cfg.Relay.MaxBytesPerSecond)})
	go func() { ended <- r.Run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}

// drain appends events and returns how many a second reach the subscriber when a relay begins.
func (b *deliveryBench) drain(ctx context.Context, n int, streams bool) (float64, error) {
	for left := n; left > 0; left -= 1000 {
		if _, err := b.box.Add(ctx, b.events(min(left, 1000))...); err != nil {
			return 0, err
		}
	}
	b.sub.expect(n)
	began := time.Now()
	stop := b.relay(ctx, streams)
	err := b.sub.wait(ctx)
	perSecond := rate(n, began)
	return perSecond, errors.Join(err, stop())
}

// pipelined sends as many messages in pipelines of 512, on one connection.
func (b *deliveryBench) pipelined(ctx context.Context, n int, command func(redis.Pipeliner)) (float64, error) {
	b.sub.expect(n)
	began := time.Now()
	for left := n; left > 0; left -= 512 {
		pipe := b.client.Pipeline()
		for range min(left, 512) {
			command(pipe)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return 0, err
		}
	}
	err := b.sub.wait(ctx)
	return rate(n, began), err
}

// rest makes a system idle: processor caches are cold, and threads asleep.
const rest = 2 * time.Millisecond

// latency is the time from the return of Add to the arrival at the subscriber on an idle system, in turns with one PUBLISH.
func (b *deliveryBench) latency(ctx context.Context, trips int) (_ *latencyFigure, err error) {
	stop := b.relay(ctx, false)
	defer func() { err = errors.Join(err, stop()) }()
	ms := func(began time.Time) float64 { return float64(time.Since(began).Microseconds()) / 1000 }
	var arrived, published []float64
	for range trips {
		time.Sleep(rest)
		b.sub.expect(1)
		if _, err := b.box.Add(ctx, b.events(1)...); err != nil {
			return nil, err
		}
		began := time.Now()
		if err := b.sub.wait(ctx); err != nil {
			return nil, err
		}
		arrived = append(arrived, ms(began))
		time.Sleep(rest)
		b.sub.expect(1)
		began = time.Now()
		if err := b.client.Publish(ctx, b.channel, b.payload).Err(); err != nil {
			return nil, err
		}
		published = append(published, ms(began))
		if err := b.sub.wait(ctx); err != nil {
			return nil, err
		}
	}
	l := &latencyFigure{P50: quantile(arrived, 0.5), P99: quantile(arrived, 0.99), Publish: quantile(published, 0.5)}
	l.Ratio = l.P50 / l.Publish
	return l, nil
}
