package relay_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/relay/control"
)

const kilobyte = 1024

// counter is a subscriber that does nothing but count messages of a known size, so that it costs the measured side little.
type counter struct {
	n    atomic.Int64
	want atomic.Int64
	done chan struct{}
}

func count(b *testing.B, addr, channel string) *counter {
	b.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(b, err)
	b.Cleanup(func() { _ = conn.Close() })
	fmt.Fprintf(conn, "SUBSCRIBE %s\r\n", channel)
	in := bufio.NewReaderSize(conn, 1<<20)
	for range 6 { // *3 $9 subscribe $n channel :1
		_, err := in.ReadString('\n')
		require.NoError(b, err)
	}
	c := &counter{done: make(chan struct{}, 1)}
	size := len(fmt.Sprintf("*3\r\n$7\r\nmessage\r\n$%d\r\n%s\r\n$%d\r\n", len(channel), channel, kilobyte)) + kilobyte + 2
	go func() {
		for {
			if _, err := in.Discard(size); err != nil {
				return
			}
			if c.n.Add(1) == c.want.Load() {
				c.done <- struct{}{}
			}
		}
	}()
	return c
}

// expect says how many more messages wait is to wait for.
func (c *counter) expect(n int) { c.want.Store(c.n.Load() + int64(n)) }
func (c *counter) wait()        { <-c.done }

func kilobyteEvents(n int) []outbox.Event {
	events := make([]outbox.Event, n)
	for i := range events {
		events[i] = outbox.Event{Topic: "news", MessageID: uuid.NewString(), Payload: []byte(strings.Repeat("x", kilobyte))}
	}
	return events
}

func benchServer(b *testing.B) *redistest.Server {
	if _, err := exec.LookPath("redis-server"); err != nil {
		b.Fatal("this benchmark needs redis-server")
	}
	return redistest.Start(b, redistest.Options{})
}

func median(figures []float64) float64 {
	slices.Sort(figures)
	return figures[len(figures)/2]
}

// bench is an outbox, a Redis, and a subscriber that reads as fast as it can.
type bench struct {
	*testing.B
	server *redistest.Server
	box    *outbox.Outbox
	client redis.UniversalClient
	sub    *counter
}

func newBench(b *testing.B) *bench {
	server := benchServer(b)
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{server.Addr()}})
	b.Cleanup(func() { _ = client.Close() })
	box, err := outbox.Open(filepath.Join(b.TempDir(), "outbox.db"), outbox.Options{})
	require.NoError(b, err)
	b.Cleanup(func() { _ = box.Close() })
	return &bench{b, server, box, client, count(b, server.Addr(), "test:news")}
}

// drain appends events of 1 KB and returns how many a second reach the subscriber.
func (b *bench) drain(events int, opts relay.Options) float64 {
	b.Helper()
	return b.drainBy(events, opts, func(ctx context.Context, build func(relay.Source) *relay.Relay) error {
		return build(b.box).Run(ctx)
	})
}

// drainBy is drain by a relay that run makes and runs.
func (b *bench) drainBy(events int, opts relay.Options, run func(context.Context, func(relay.Source) *relay.Relay) error) float64 {
	b.Helper()
	for range 50 {
		_, err := b.box.Add(context.Background(), kilobyteEvents(events/50)...)
		require.NoError(b, err)
	}
	b.sub.expect(events)
	began := time.Now()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	opts.Channels = map[string]string{"news": "test:news"}
	go func() {
		ended <- run(ctx, func(source relay.Source) *relay.Relay {
			return relay.New(source, relay.NewRedis(b.client, 5*time.Second), opts)
		})
	}()
	b.sub.wait()
	took := time.Since(began)
	stop()
	require.NoError(b, <-ended)
	return float64(events) / took.Seconds()
}

// pipelined sends as many messages in pipelines of 512 commands, made by command for each message.
func (b *bench) pipelined(events int, command func(redis.Pipeliner, []byte)) float64 {
	b.Helper()
	b.sub.expect(events)
	payload := []byte(strings.Repeat("x", kilobyte))
	began := time.Now()
	for sent := 0; sent < events; {
		pipe := b.client.Pipeline()
		for ; pipe.Len() < 512 && sent < events; sent++ {
			command(pipe, payload)
		}
		_, err := pipe.Exec(context.Background())
		require.NoError(b, err)
	}
	b.sub.wait()
	return float64(events) / time.Since(began).Seconds()
}

const drainEvents = 200_000

// BenchmarkDrain drains a backlog of events of 1 KB to one subscriber, beside a go-redis pipeline of 512 plain PUBLISH on
// one connection with the same subscriber, in turns; vs_plain is the ratio of the medians.
func BenchmarkDrain(b *testing.B) {
	bench := newBench(b)
	var drained, plain []float64
	for b.Loop() {
		drained = append(drained, bench.drain(drainEvents, relay.Options{}))
		plain = append(plain, bench.pipelined(drainEvents, func(pipe redis.Pipeliner, payload []byte) {
			pipe.Publish(context.Background(), "test:news", payload)
		}))
	}
	b.ReportMetric(median(drained), "drained/s")
	b.ReportMetric(median(plain), "plain/s")
	b.ReportMetric(median(drained)/median(plain), "vs_plain")
}

// BenchmarkDrainStream is the same with a stream, beside a pipeline of plain XADD, of entries with the same fields, and PUBLISH.
func BenchmarkDrainStream(b *testing.B) {
	bench := newBench(b)
	id, now := uuid.NewString(), time.Now().Format(time.RFC3339Nano)
	var drained, plain []float64
	for b.Loop() {
		drained = append(drained, bench.drain(drainEvents, relay.Options{Streams: true}))
		plain = append(plain, bench.pipelined(drainEvents, func(pipe redis.Pipeliner, payload []byte) {
			pipe.XAdd(context.Background(), &redis.XAddArgs{Stream: "plain", MaxLen: relay.DefaultStreamMaxLen, Approx: true, Values: []any{
				"specversion", "1.0", "id", id, "source", "/test", "type", "news", "time", now, "subject", "test:news",
				"sequence", "1", "origin", id, "data", payload}})
			pipe.Publish(context.Background(), "test:news", payload)
		}))
	}
	b.ReportMetric(median(drained), "drained/s")
	b.ReportMetric(median(plain), "plain/s")
	b.ReportMetric(median(drained)/median(plain), "vs_plain")
}

// BenchmarkDrainOverSocket is what it costs that the relay is not in the process that has the outbox open.
func BenchmarkDrainOverSocket(b *testing.B) {
	bench := newBench(b)
	ctx, stop := context.WithCancel(context.Background())
	socket := filepath.Join(b.TempDir(), "s")
	served := make(chan error, 1)
	go func() { served <- control.Serve(ctx, control.Options{Outbox: bench.box, Path: socket}) }()
	var client *control.Client
	require.Eventually(b, func() (up bool) {
		dialled, err := control.Dial(socket)
		client = dialled
		return err == nil
	}, redistest.Patience, time.Millisecond)
	var over, within []float64
	for b.Loop() {
		over = append(over, bench.drainBy(drainEvents, relay.Options{}, func(ctx context.Context, build func(relay.Source) *relay.Relay) error {
			return client.Relay(ctx, build, nil)
		}))
		within = append(within, bench.drain(drainEvents, relay.Options{}))
	}
	stop()
	require.NoError(b, client.Close())
	require.NoError(b, <-served)
	b.ReportMetric(median(over), "drained/s")
	b.ReportMetric(median(within), "within/s")
	b.ReportMetric(median(over)/median(within), "vs_within")
}

// BenchmarkFlowControl is what flow control costs a subscriber that is fast.
func BenchmarkFlowControl(b *testing.B) {
	bench := newBench(b)
	var with, without []float64
	for b.Loop() {
		with = append(with, bench.drain(drainEvents, relay.Options{}))
		without = append(without, bench.drain(drainEvents, relay.Options{MaxBuffer: -1}))
	}
	b.ReportMetric(median(with), "drained/s")
	b.ReportMetric(median(without), "without/s")
	b.ReportMetric(median(with)/median(without), "vs_without")
}
