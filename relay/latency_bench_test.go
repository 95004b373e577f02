package relay_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/relay"
)

// rest makes a system idle: processor caches are cold, and threads asleep.
const rest = 2 * time.Millisecond

// BenchmarkLatency is the time from the return of Add to the arrival at the subscriber on an idle system, beside one
// PUBLISH round trip, 200 of both each after a rest; µs_called_p99 is from the call of Add, so with the commit, when that is called 200
// times at 100 a second.
func BenchmarkLatency(b *testing.B) {
	bench := newBench(b)
	box, client, sub := bench.box, bench.client, bench.sub
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- relay.New(box, relay.NewRedis(client, 5*time.Second), relay.Options{Channels: map[string]string{"news": "test:news"}}).Run(ctx)
	}()
	payload := []byte(strings.Repeat("x", kilobyte))
	var arrived, trip, called []float64
	for b.Loop() {
		for range 200 {
			time.Sleep(rest)
			sub.expect(1)
			_, err := box.Add(ctx, kilobyteEvents(1)...)
			require.NoError(b, err)
			began := time.Now()
			sub.wait()
			arrived = append(arrived, float64(time.Since(began).Microseconds()))
			time.Sleep(rest)
			sub.expect(1)
			began = time.Now()
			require.NoError(b, client.Publish(ctx, "test:news", payload).Err())
			trip = append(trip, float64(time.Since(began).Microseconds()))
			sub.wait()
		}
		for range 200 {
			time.Sleep(10 * time.Millisecond)
			sub.expect(1)
			began := time.Now()
			_, err := box.Add(ctx, kilobyteEvents(1)...)
			require.NoError(b, err)
			sub.wait()
			called = append(called, float64(time.Since(began).Microseconds()))
		}
	}
	slices.Sort(called)
	b.ReportMetric(called[len(called)*99/100], "µs_called_p99")
	stop()
	require.NoError(b, <-ended)
	b.ReportMetric(median(arrived), "µs_p50")
	b.ReportMetric(arrived[len(arrived)*99/100], "µs_p99")
	b.ReportMetric(median(trip), "µs_publish")
	b.ReportMetric(median(arrived)/median(trip), "vs_publish")
}

// BenchmarkAlertBehindBacklog is the time from the return of Add of an event of one topic to its arrival while a backlog of
// 400,000 events of another topic drains, one every 20 ms; ms_idle_p50 is the same when nothing else is to do.
func BenchmarkAlertBehindBacklog(b *testing.B) {
	bench := newBench(b)
	alerts := count(b, bench.server.Addr(), "test:alerts")
	alert := func() float64 {
		alerts.expect(1)
		event := kilobyteEvents(1)
		event[0].Topic, event[0].Urgent = "alerts", true
		_, err := bench.box.Add(b.Context(), event...)
		require.NoError(b, err)
		began := time.Now()
		alerts.wait()
		return milliseconds(began)
	}
	var behind, idle []float64
	for b.Loop() {
		for range 400 {
			_, err := bench.box.Add(b.Context(), kilobyteEvents(1000)...)
			require.NoError(b, err)
		}
		left := bench.sub.n.Load() + 400_000
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() {
			ended <- relay.New(bench.box, relay.NewRedis(bench.client, 5*time.Second),
				relay.Options{Channels: map[string]string{"news": "test:news", "alerts": "test:alerts"}}).Run(ctx)
		}()
		for bench.sub.n.Load() < left-20_000 {
			behind = append(behind, alert())
			time.Sleep(20 * time.Millisecond)
		}
		for bench.sub.n.Load() < left {
			time.Sleep(time.Millisecond)
		}
		for range 50 {
			idle = append(idle, alert())
		}
		stop()
		require.NoError(b, <-ended)
	}
	b.ReportMetric(median(behind), "ms_p50")
	b.ReportMetric(behind[len(behind)*99/100], "ms_p99")
	b.ReportMetric(behind[len(behind)-1], "ms_max")
	b.ReportMetric(median(idle), "ms_idle_p50")
}

// BenchmarkRecovery is the time from the moment at which Redis answers again, after an outage of 12 to 16 s that a SIGKILL began,
// until the first event arrives, at the default delays (5 s between attempts at most). The subscriber subscribes at once.
func BenchmarkRecovery(b *testing.B) {
	bench := newBench(b)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- relay.New(bench.box, relay.NewRedis(bench.client, 5*time.Second), relay.Options{Channels: map[string]string{"news": "test:news"}}).Run(ctx)
	}()
	var took []float64
	for outage := 12 * time.Second; b.Loop(); outage = 12*time.Second + (outage+1300*time.Millisecond)%(4*time.Second) {
		bench.sub.expect(1)
		_, err := bench.box.Add(ctx, kilobyteEvents(1)...)
		require.NoError(b, err)
		bench.sub.wait()
		time.Sleep(3 * time.Second) // until Redis is known to have outlived it: it does not come again
		bench.server.Kill()
		_, err = bench.box.Add(ctx, kilobyteEvents(1)...)
		require.NoError(b, err)
		time.Sleep(outage)
		bench.server.Start()
		began := time.Now()
		bench.sub = count(b, bench.server.Addr(), "test:news")
		for bench.sub.n.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		took = append(took, time.Since(began).Seconds())
	}
	stop()
	require.NoError(b, <-ended)
	b.ReportMetric(slices.Max(took), "s_max")
	b.ReportMetric(median(took), "s_p50")
}
