package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
)

// BenchmarkAppend is the command's own measurement of durable appends, with as many rounds as there are iterations.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range appendCallers {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			f, err := benchAppend(b.Context(), benchPlan{rounds: b.N, appends: 100}, b.TempDir(), callers, func() {})
			require.NoError(b, err)
			b.ReportMetric(f.PerSecond, "events/s")
			b.ReportMetric(f.Baseline, "bare-events/s")
			b.ReportMetric(f.Ratio, "vs-bare")
			if f.Batch > 0 {
				b.ReportMetric(f.BatchPerSecond, "batch-events/s")
				b.ReportMetric(f.Batch, "vs-batch")
			}
		})
	}
}

// aLittle is a measurement that is over at once, and says nothing.
var aLittle = benchPlan{rounds: 1, appends: 2, drained: 600, trips: 20}

func TestBenchTellsEveryFigureAndLeavesNothingBehind(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	dir := t.TempDir()
	var out, progress strings.Builder
	a := newApp(strings.NewReader(""), &out, &progress)
	a.environ, a.envFile = []string{}, os.DevNull
	a.output, a.redisURL, a.db = formatJSON, server.URL(), filepath.Join(dir, "new", "matchrelay.db")
	a.terminal = func(any) bool { return true }
	require.NoError(t, a.bench(t.Context(), aLittle))
	var r struct {
		Against benchAgainst `json:"against"`
	}
	require.NoError(t, json.Unmarshal([]byte(out.String()), &r))
	require.Equal(t, dir, r.Against.Dir)
	require.Contains(t, r.Against.Redis, server.Addr())
	var all map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(out.String()), &all))
	delete(all, "against")
	for name, ratio := range map[string]string{"append_1": "vs_bare_bbolt", "append_64": "vs_bare_group_commit", "append_256": "vs_bare_group_commit",
		"drain_pubsub": "vs_pipelined_publish", "drain_stream": "vs_pipelined_xadd_publish"} {
		var f map[string]float64
		require.NoError(t, json.Unmarshal(all[name], &f), name)
		require.Positive(t, f["events_per_second"], name)
		require.Positive(t, f["baseline_per_second"], name)
		require.InDelta(t, f["events_per_second"]/f["baseline_per_second"], f[ratio], 1e-9, name)
		if name == "append_64" {
			require.Positive(t, f["bbolt_batch_per_second"])
			require.InDelta(t, f["events_per_second"]/f["bbolt_batch_per_second"], f["vs_bbolt_batch"], 1e-9)
		}
		delete(all, name)
	}
	var latency map[string]float64
	require.NoError(t, json.Unmarshal(all["latency_ms"], &latency))
	require.Positive(t, latency["p50"])
	require.LessOrEqual(t, latency["p50"], latency["p99"])
	require.Len(t, all, 1)
	require.Contains(t, progress.String(), "measured 11 of 11")

	keys, err := server.Client().Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.Empty(t, keys)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestBenchStartsARedisServerOfItsOwn(t *testing.T) {
	plan := aLittle
	plan.only, plan.server, plan.dir = "deliver", "redis-server", t.TempDir()
	var out strings.Builder
	a := newApp(strings.NewReader(""), &out, &out)
	a.environ = []string{"REDIS_URL=redis://127.0.0.1:1"}
	require.NoError(t, a.bench(t.Context(), plan))
	require.Contains(t, out.String(), "drain, Pub/Sub")
	require.NotContains(t, out.String(), "append,")
	left, err := os.ReadDir(plan.dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestBenchWithoutWhatItNeeds(t *testing.T) {
	dir := t.TempDir()
	configure := func(a *app) {
		a.environ = []string{"REDIS_URL=redis://:hunter2@127.0.0.1:1", "MATCHRELAY_DB=" + filepath.Join(dir, "matchrelay.db")}
	}
	for _, tt := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no Redis", nil, 4, "name another one with --redis-url, start one with --redis-server, or leave Redis out with --only append"},
		{"no redis-server", []string{"--redis-server=no-such-server"}, 3, "install redis-server"},
		{"a folder that cannot be written to", []string{"--dir", "/proc"}, 3, "name another one with --dir"},
		{"too few rounds", []string{"--rounds", "0"}, 2, "--rounds: expected 1 to 100"},
		{"an unknown part", []string{"--only", "latency"}, 2, "--only: expected append or deliver"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := call(t, t.Context(), configure, append([]string{"bench"}, tt.args...)...)
			require.Equal(t, tt.code, code, stderr)
			require.Empty(t, stdout)
			require.Contains(t, stderr, tt.says)
			require.NotContains(t, stderr, "hunter2")
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestAnInterruptedBenchLeavesNothingBehind(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	code, _, stderr := call(t, ctx, nil, "bench", "--only", "append", "--dir", dir)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "interrupted")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}
