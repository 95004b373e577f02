package relay_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// STRANGE is how many replies are spoiled, STRANGE_SEED what they are drawn from.
func strangeCases(t *testing.T) (count int64, seed uint64) {
	count, seed = 300, rand.Uint64()
	if s := os.Getenv("STRANGE"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		require.NoError(t, err)
		count = n
	}
	if s := os.Getenv("STRANGE_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		seed = n
	}
	t.Logf("STRANGE_SEED=%d", seed)
	return count, seed
}

// strangeMemory is how much memory Go may take at most, of a process in which both a relay and a reader of streams meet with a
// strange server: what it has had from the system, so the peak. It is the same with the race detector.
const strangeMemory = 200 << 20

// strangeEnv is set in the process that runs TestStrangeServer_EndsNothingAndLosesNothing, and nothing else.
const strangeEnv = "MATCHRELAY_TEST_STRANGE"

func TestStrangeServer_EndsNothingAndLosesNothing(t *testing.T) {
	t.Parallel()
	if os.Getenv(strangeEnv) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=0")
		cmd.Env = append(os.Environ(), strangeEnv+"=1")
		cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
		require.NoError(t, cmd.Run())
		return
	}
	before := inUse()
	count, seed := strangeCases(t)
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	odd := newStrangeServer(t, r.server.Addr(), true, seed)
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{odd.listener.Addr().String()}, DialTimeout: time.Second})
	defer client.Close()
	toReader := newStrangeServer(t, r.server.Addr(), false, seed) // what it reads of an event it has to believe
	reader := relay.NewClient(relay.ClientOptions{Addrs: []string{toReader.listener.Addr().String()}, DialTimeout: time.Second})
	defer reader.Close()
	opts := streaming()
	opts.RejoinWait, opts.RetryDelay, opts.RetryMaxDelay, opts.HealthInterval = -1, time.Millisecond, 5*time.Millisecond, 5*time.Millisecond
	opts.MaxRetries = 1 << 30 // an error reply that is made up may well blame an event
	r.startTarget(opts, relay.NewRedis(client, time.Second))

	var mu sync.Mutex
	handled := map[string]int{}
	ctx, cancel := context.WithCancel(t.Context())
	consumed := make(chan error, 1)
	store := &memory{}
	go func() {
		consumed <- relay.Consume(ctx, reader, relay.ConsumeOptions{Channel: "test:news", Store: store, Timeout: time.Second,
			RetryDelay: time.Millisecond, RetryMaxDelay: 5 * time.Millisecond,
			Handle: func(_ context.Context, e relay.StreamEvent) error {
				mu.Lock()
				defer mu.Unlock()
				handled[e.MessageID]++
				return nil
			},
			// That the stream had lost the entry at which it stood, and that the outbox was an older copy, are two lies that make one.
			OnGap: func(context.Context, relay.Gap) error { return nil }})
	}()
	for odd.spoils.Load() < count {
		r.add("news", 1)
		r.add("alerts", 1)
	}
	eventually(t, "the reader has met with some, too", func() bool { return toReader.spoils.Load() > count/10 })
	odd.honest.Store(true)
	toReader.honest.Store(true)
	r.waitDelivered("news")
	r.waitDelivered("alerts")
	r.waitArrived(sub, r.appended)
	eventually(t, "the reader has come to the end", func() bool {
		if len(consumed) > 0 {
			require.NoError(t, <-consumed, "the reader has ended")
		}
		mu.Lock()
		defer mu.Unlock()
		for _, id := range r.news() {
			if handled[id] == 0 {
				return false
			}
		}
		return true
	})
	require.Zero(t, r.topic("news").Parked)
	cancel()
	require.NoError(t, <-consumed)
	r.halt()
	_, err := relay.NewRedis(client, time.Second).Examine(context.Background(), everything)
	require.NoError(t, err)
	require.NoError(t, client.Close())
	require.NoError(t, reader.Close())
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	recorded := inUse() - before
	t.Logf("%d events, %d replies to the relay spoiled and %d to the reader; %d MiB of memory at most, with %d MiB that the test has recorded",
		len(r.appended), odd.spoils.Load(), toReader.spoils.Load(), m.Sys>>20, recorded>>20)
	require.Less(t, int64(m.Sys)-2*max(0, recorded), int64(strangeMemory), "without what the test has recorded, and the garbage that comes with it")
	runtime.KeepAlive(sub)
	runtime.KeepAlive(handled)
}

// inUse is how many bytes of the heap are in use when all garbage is collected.
func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestStrangeServer_IsAnOutageWhateverItAnswers(t *testing.T) {
	t.Parallel()
	const timeout = 200 * time.Millisecond // some are no whole replies
	for _, reply := range spoiled {
		addr := answering(t, reply)
		for name, o := range map[string]relay.ClientOptions{"a single Redis": {}, "a Cluster": {Addrs: []string{"127.0.0.1:1"}},
			"Sentinels": {SentinelMaster: "main"}} {
			o.Addrs, o.DialTimeout = append(o.Addrs, addr), timeout
			client := relay.NewClient(o)
			r := relay.NewRedis(client, timeout)
			ctx := t.Context()
			_, err := r.Publish(ctx, relay.Batch{Channel: "test:news", Origin: "o"})
			require.Error(t, err, "%s: %.40q", name, reply)
			_, _ = r.Newest(ctx, "test:news", "")
			_, _, _ = r.Buffers(ctx)
			_, _, _ = r.StreamMark(ctx, "test:news", "o")
			_, _ = r.Examine(ctx, everything)
			sub := client.Subscribe(ctx, "test:news")
			_, _ = sub.ReceiveTimeout(ctx, 100*time.Millisecond)
			_ = sub.Close()
			if o.SentinelMaster != "" {
				_ = relay.Sentinels(ctx, o, timeout)
			}
			require.NoError(t, client.Close())
		}
	}
}

// answering is the address of a server that gives one reply to everything.
func answering(t *testing.T, reply string) (addr string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { answerAll(conn, reply) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		conns.Wait() // for clients are closed before
	})
	return listener.Addr().String()
}

// answerAll answers whatever is asked: the handshake as an old server does, and everything else with one reply.
func answerAll(conn net.Conn, reply string) {
	defer conn.Close()
	command := make([]byte, 64<<10)
	for {
		n, err := conn.Read(command)
		if err != nil {
			return
		}
		said := reply
		switch {
		case bytes.Contains(command[:n], []byte("\r\nhello\r\n")):
			said = "-ERR unknown command 'hello'\r\n"
		case bytes.Contains(command[:n], []byte("\r\nauth\r\n")):
			said = "+OK\r\n"
		}
		if _, err := conn.Write([]byte(said)); err != nil {
			return
		}
	}
}

func TestPublish_BelievesNoOKWithAnotherMark(t *testing.T) {
	t.Parallel()
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{answering(t, script("OK", "6", "m6"))}, DialTimeout: socketTimeout})
	defer client.Close()
	r := relay.NewRedis(client, socketTimeout)
	batch := relay.Batch{Channel: "test:news", Origin: "o", Predecessor: outbox.Mark{Sequence: 5, MessageID: "m5"},
		Events: []outbox.Entry{{Sequence: 6, MessageID: "m6"}}}
	replies, err := r.Publish(t.Context(), batch)
	require.NoError(t, err)
	require.Equal(t, relay.OK, replies[0].Outcome)
	batch.Events[0].MessageID = "another"
	for _, b := range []relay.Batch{batch, {Channel: "test:news", Origin: "o", Predecessor: batch.Predecessor}} {
		replies, err = r.Publish(t.Context(), b)
		require.ErrorContains(t, err, "does not behave like Redis")
		require.Empty(t, replies)
		class, mend := relay.Explain(err)
		require.Equal(t, relay.Outage, class)
		require.NotEmpty(t, mend)
	}
}

// A Sentinel that tells of a failover in words that are none.
func TestStrangeServer_MayBeASentinel(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t, redistest.Options{})
	host, port, err := net.SplitHostPort(master.Addr())
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	var told atomic.Int64
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				command := make([]byte, 64<<10)
				for {
					n, err := conn.Read(command)
					if err != nil {
						return
					}
					said := "-ERR unknown command\r\n"
					switch c := string(command[:n]); {
					case strings.Contains(c, "get-master-addr"):
						said = fmt.Sprintf("*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(host), host, len(port), port)
					case strings.Contains(c, "subscribe"):
						told.Add(1)
						said = "*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$20\r\n+replica-reconf-done\r\n:2\r\n" +
							"*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$4\r\nmain\r\n"
					}
					if _, err := conn.Write([]byte(said)); err != nil {
						return
					}
				}
			}()
		}
	}()
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{listener.Addr().String()}, SentinelMaster: "main", DialTimeout: socketTimeout})
	defer client.Close()
	require.NoError(t, client.Ping(t.Context()).Err())
	eventually(t, "it has told more than once", func() bool { return told.Load() > 1 })
	require.NoError(t, client.Ping(t.Context()).Err())
}

// Some servers that speak Redis's protocol list their clients without their buffers.
func TestBuffers_ThatAreNotToldAreNotEmpty(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"id=3 addr=127.0.0.1:5000 omem=0\nid=4 addr=127.0.0.1:5001 obl=0\n": true,
		"id=3 addr=127.0.0.1:5000 omem=0\nid=4 addr=127.0.0.1:5001\n":       false,
	} {
		client := relay.NewClient(relay.ClientOptions{Addrs: []string{answering(t, fmt.Sprintf("$%d\r\n%s\r\n", len(text), text))}, DialTimeout: socketTimeout})
		list, all, err := relay.NewRedis(client, socketTimeout).Buffers(t.Context())
		require.NoError(t, err)
		require.Len(t, list, 2)
		require.Equal(t, want, all)
		require.NoError(t, client.Close())
	}
}

func TestBuffers_OfMoreClientsThanAnyRedisHasAreRefused(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("obl=0\n", 1_000_000)
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{answering(t, fmt.Sprintf("$%d\r\n%s\r\n", len(text), text))}, DialTimeout: socketTimeout})
	defer client.Close()
	_, _, err := relay.NewRedis(client, socketTimeout).Buffers(t.Context())
	require.ErrorContains(t, err, "does not behave like Redis: CLIENT LIST has 1000000 lines")
}
