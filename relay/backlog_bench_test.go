package relay_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// backlog is how many events of 1 KB wait in BenchmarkBacklog.
const backlog = 1_000_000

// BenchmarkBacklog is what a large backlog costs: appending with it beside appending to an empty outbox, the counters,
// opening the file (with and without the page cache), and draining it, whose end is compared with its beginning. The heap
// is that in use while it drains, the most that was seen. Medians, but the most of the heap.
func BenchmarkBacklog(b *testing.B) {
	bench := newBench(b)
	require.NoError(b, bench.box.Close())
	figures := map[string][]float64{}
	note := func(name string, figure float64) { figures[name] = append(figures[name], figure) }
	for b.Loop() {
		bench.measureBacklog(note)
	}
	for name, f := range figures {
		if name == "MB_heap" {
			f = []float64{slices.Max(f)}
		}
		b.ReportMetric(median(f), name)
	}
}

func (b *bench) measureBacklog(note func(name string, figure float64)) {
	b.Helper()
	dir, err := os.MkdirTemp(b.TempDir(), "")
	require.NoError(b, err)
	defer os.RemoveAll(dir) // gigabytes
	path := filepath.Join(dir, "outbox.db")
	b.box, err = outbox.Open(path, outbox.Options{})
	require.NoError(b, err)
	defer func() { _ = b.box.Close() }()
	for range backlog / 1000 {
		_, err := b.box.Add(b.Context(), kilobyteEvents(1000)...)
		require.NoError(b, err)
	}
	empty, err := outbox.Open(filepath.Join(dir, "empty.db"), outbox.Options{})
	require.NoError(b, err)
	defer empty.Close()
	note("append_vs_empty", appendRate(b.B, b.box, empty))

	began := time.Now()
	_, err = b.box.Stats(b.Context())
	require.NoError(b, err)
	note("ms_status", milliseconds(began))

	for _, cache := range []string{"warm", "cold"} {
		require.NoError(b, b.box.Close())
		if cache == "cold" {
			dropCache(b.B, path)
		}
		began = time.Now()
		b.box, err = outbox.Open(path, outbox.Options{})
		require.NoError(b, err)
		note("ms_open_"+cache, milliseconds(began))
	}
	readThrough(b.B, path) // a backlog that the page cache has forgotten drains as fast as the disk finds its pages
	first, last, heap := b.drainBacklog()
	note("drain_last_vs_first", last/first)
	note("drained/s", last)
	note("MB_heap", heap/(1<<20))
}

func milliseconds(began time.Time) float64 { return float64(time.Since(began).Microseconds()) / 1000 }

// appendRate is the ratio of the appends a second to one outbox and another, in turns.
func appendRate(b *testing.B, one, other *outbox.Outbox) float64 {
	b.Helper()
	var rates [2][]float64
	for range 20 {
		for i, box := range []*outbox.Outbox{one, other} {
			began := time.Now()
			for range 50 {
				_, err := box.Add(b.Context(), kilobyteEvents(1)...)
				require.NoError(b, err)
			}
			rates[i] = append(rates[i], 50/time.Since(began).Seconds())
		}
	}
	return median(rates[0]) / median(rates[1])
}

// dropCache has the system forget a file that nobody has open.
func dropCache(b *testing.B, path string) {
	b.Helper()
	f, err := os.Open(path)
	require.NoError(b, err)
	defer f.Close()
	require.NoError(b, f.Sync())
	require.NoError(b, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
}

// readThrough has the system know a file again.
func readThrough(b *testing.B, path string) {
	b.Helper()
	f, err := os.Open(path)
	require.NoError(b, err)
	defer f.Close()
	_, err = io.Copy(io.Discard, f)
	require.NoError(b, err)
}

// drainBacklog drains all that is pending, and returns how many a second of the first and of the last tenth reach the
// subscriber, and the bytes of heap in use meanwhile, at most.
func (b *bench) drainBacklog() (first, last, heap float64) {
	b.Helper()
	runtime.GC()
	ctx, stop := context.WithCancel(context.Background())
	var most atomic.Uint64
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for ctx.Err() == nil {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most.Store(max(most.Load(), m.HeapInuse))
			time.Sleep(50 * time.Millisecond)
		}
	}()
	ended := make(chan error, 1)
	const tenth = backlog / 10
	before := b.sub.n.Load()
	b.sub.expect(tenth)
	began := time.Now()
	go func() {
		ended <- relay.New(b.box, relay.NewRedis(b.client, 5*time.Second), relay.Options{Channels: map[string]string{"news": "test:news"}}).Run(ctx)
	}()
	b.sub.wait()
	first = tenth / time.Since(began).Seconds()
	for b.sub.n.Load() < before+9*tenth {
		time.Sleep(time.Millisecond)
	}
	from, began := b.sub.n.Load(), time.Now()
	end := before + backlog
	b.sub.want.Store(end)
	b.sub.wait()
	last = float64(end-from) / time.Since(began).Seconds()
	stop()
	require.NoError(b, <-ended)
	<-watched
	return first, last, float64(most.Load())
}
