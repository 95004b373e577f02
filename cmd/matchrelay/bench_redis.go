package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/PitchConnect/matchrelay/config"
)

// startBenchRedis starts a redis-server of bench's own; the configuration is one for it.
func startBenchRedis(ctx context.Context, server, folder string) (cfg *config.Config, stop func(), err error) {
	own, err := newRealRedis(server, folder)
	if err != nil {
		return nil, nil, err
	}
	if err := own.start(ctx); err != nil {
		return nil, nil, err
	}
	cfg, err = config.Load(config.Options{Environ: []string{}, EnvFile: os.DevNull, Overrides: map[string]string{"REDIS_URL": "redis://" + own.addr()}})
	if err != nil {
		own.stop()
		return nil, nil, err
	}
	return cfg, own.stop, nil
}

// benchRedis is the Redis that is measured.
type benchRedis struct {
	cfg    *config.Config
	client redis.UniversalClient // closed when the measurement is interrupted: go-redis goes on waiting for an answer
	keys   []string              // that may be there
}

func (r *benchRedis) addrs() string { return strings.Join(r.cfg.Redis.Server.Addrs, ", ") }

// ask makes one call, which has a time limit.
func (r *benchRedis) ask(ctx context.Context, call func(ctx context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, r.cfg.Redis.SocketTimeout+time.Second) // of half a megabyte at most
	defer cancel()
	return r.failed(ctx, call(limited))
}

// failed says what to do about an error of Redis, unless it is one since ctx has ended.
func (r *benchRedis) failed(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return exit(exitUnreachable, fmt.Errorf("ask Redis at %s: %w; name another one with --redis-url, start one with --redis-server, or leave Redis out with --only append",
		r.addrs(), err))
}

// cleanLimit is how long removing the keys may take.
const cleanLimit = 5 * time.Second

// clean removes the keys, with a client of its own, also after an interruption. It returns err, and what is left if that fails.
func (r *benchRedis) clean(ctx context.Context, err error) error {
	if len(r.keys) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanLimit)
	defer cancel()
	client := newClient(r.cfg)
	defer client.Close()
	failed := client.Del(ctx, r.keys...).Err()
	left := strings.Join(r.keys, ", ")
	switch {
	case failed == nil:
		return err
	case err == nil:
		return exit(exitUnreachable, fmt.Errorf("remove the keys of the measurement from Redis at %s: %w; remove by hand: %s", r.addrs(), failed, left))
	}
	return fmt.Errorf("%w; keys may be left in Redis (%v), to be removed by hand: %s", err, failed, left)
}

// arrivals is a subscriber that counts.
type arrivals struct {
	redis *benchRedis
	n     atomic.Int64
	want  atomic.Int64
	done  chan struct{}
	lost  chan error // why there will be no more
}

func (r *benchRedis) subscribe(ctx context.Context, channel string) (*arrivals, func(), error) {
	var pubsub *redis.PubSub
	if err := r.ask(ctx, func(ctx context.Context) error {
		pubsub = r.client.Subscribe(ctx, channel)
		_, err := pubsub.ReceiveTimeout(ctx, r.cfg.Redis.SocketTimeout)
		return err
	}); err != nil {
		_ = pubsub.Close()
		return nil, nil, err
	}
	a, ended := &arrivals{redis: r, done: make(chan struct{}, 1), lost: make(chan error, 1)}, make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if _, err := pubsub.Receive(ctx); err != nil {
				a.lost <- fmt.Errorf("the subscriber is cut off: %w", err)
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
		case err := <-a.lost:
			return a.redis.failed(ctx, err)
		case <-ticker.C:
		}
		now := a.n.Load()
		if now == before {
			return a.redis.failed(ctx, fmt.Errorf("nothing has arrived for %v", stalled))
		}
		before = now
	}
}
