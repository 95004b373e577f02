package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
)

// underWay is a bench whose first message has just arrived at a Redis.
type underWay struct {
	dir    string
	cancel context.CancelFunc
	ended  chan struct{} // closed when the rest can be read

	stdout, stderr strings.Builder
	code           int
	says           string
}

// startBench starts a bench of delivery that does not end by itself.
func startBench(t *testing.T, url string) *underWay {
	t.Helper()
	opts, err := redis.ParseURL(url)
	require.NoError(t, err)
	client := redis.NewClient(opts)
	defer client.Close()
	heard := client.PSubscribe(t.Context(), "matchrelay:bench:*")
	defer heard.Close()
	_, err = heard.Receive(t.Context())
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	b := &underWay{dir: t.TempDir(), cancel: cancel, ended: make(chan struct{})}
	a := newApp(strings.NewReader(""), &b.stdout, &b.stderr)
	a.environ = []string{"REDIS_URL=" + url}
	go func() {
		defer close(b.ended)
		b.code, b.says = explain(a.bench(ctx, benchPlan{rounds: 100, drained: 20_000, trips: 1, dir: b.dir, only: "deliver"}))
	}()
	t.Cleanup(func() {
		cancel()
		<-b.ended
	})
	_, err = heard.ReceiveTimeout(t.Context(), redistest.Patience)
	require.NoError(t, err)
	return b
}

// ends waits for the end, and requires that nothing is left in the folder.
func (b *underWay) ends(t *testing.T) {
	t.Helper()
	select {
	case <-b.ended:
	case <-time.After(redistest.Patience):
		t.Fatal("it goes on")
	}
	require.Empty(t, b.stdout.String())
	left, err := os.ReadDir(b.dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestABenchIsInterruptedWhileRedisHangs(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{Config: []string{"requirepass hunter2"}})
	b := startBench(t, "redis://:hunter2@"+server.Addr())
	server.Freeze()
	b.cancel()
	b.ends(t)
	require.Equal(t, exitFailure, b.code)
	require.Contains(t, b.says, "it was interrupted")
	require.Regexp(t, `keys may be left in Redis .*, to be removed by hand: matchrelay:\{matchrelay:bench:.*\}:hwm:`, b.says)
	require.NotContains(t, b.says, "hunter2")
	require.NotContains(t, b.says, "\n")
	require.Empty(t, b.stderr.String())
}

func TestAnInterruptedBenchRemovesItsKeys(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	b := startBench(t, server.URL())
	b.cancel()
	b.ends(t)
	require.Equal(t, exitFailure, b.code)
	require.Equal(t, "measure draining: context canceled; it was interrupted: run it again", b.says)
	keys, err := server.Client().Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.Empty(t, keys)
}

func TestABenchThatLosesRedisSaysSoAtOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	b := startBench(t, server.URL())
	server.Kill()
	b.ends(t)
	require.Equal(t, exitUnreachable, b.code)
	require.Contains(t, b.says, fmt.Sprintf("ask Redis at %s: the subscriber is cut off", server.Addr()))
	require.Contains(t, b.says, "start one with --redis-server")
	require.Contains(t, b.says, "keys may be left in Redis")
}

func TestABenchSaysWhyItIsSlow(t *testing.T) {
	server := redistest.Start(t, redistest.Options{Config: []string{"user default on nopass ~* &* +@all -client|list"}})
	plan := aLittle
	plan.only, plan.drained, plan.dir = "deliver", 6000, t.TempDir() // more than the relay sends without a look
	var out, warnings strings.Builder
	a := newApp(strings.NewReader(""), &out, &warnings)
	a.environ = []string{"REDIS_URL=" + server.URL()}
	require.NoError(t, a.bench(t.Context(), plan))
	require.Contains(t, warnings.String(), "sending at a fixed pace")
	require.NotContains(t, warnings.String(), "level=INFO")
}

func TestABenchNeedsFreeSpace(t *testing.T) {
	plan := aLittle
	plan.drained, plan.dir = 1<<30, t.TempDir()
	var out strings.Builder
	a := newApp(strings.NewReader(""), &out, &out)
	a.environ = []string{}
	require.ErrorContains(t, a.bench(t.Context(), plan), "and the measurement needs 2000.0 GiB; free disk space, name a folder on another disk with --dir")
	left, err := os.ReadDir(plan.dir)
	require.NoError(t, err)
	require.Empty(t, left)

	usual := benchPlan{rounds: 5, appends: 100, drained: 200_000}
	require.EqualValues(t, 614_400_000, usual.needs())
	usual.only = "deliver"
	require.EqualValues(t, 400_000_000, usual.needs())
	usual.server = "redis-server"
	require.EqualValues(t, 600_000_000, usual.needs())
	usual.only = "append"
	require.EqualValues(t, 614_400_000, usual.needs())
}
