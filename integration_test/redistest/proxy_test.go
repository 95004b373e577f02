package redistest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// through is a server, a proxy before it, and a client of the proxy with one
// connection, which is open.
func through(t *testing.T) (*Server, *Proxy, *redis.Client) {
	t.Helper()
	server := Start(t, Options{})
	proxy := NewProxy(t, server.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.Addr(), PoolSize: 1, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	require.NoError(t, client.Ping(context.Background()).Err())
	return server, proxy, client
}

// heals says that the proxy lets a new connection through again.
func heals(t *testing.T, proxy *Proxy) {
	t.Helper()
	proxy.Heal()
	reply, err := command(proxy.Addr(), Patience, "PING")
	require.NoError(t, err)
	require.Equal(t, status("PONG"), reply)
}

// idle is a connection through the proxy that waits for nothing in particular.
func idle(t *testing.T, proxy *Proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", proxy.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	writeCommand(conn, "PING") // the answer shows that the proxy has joined it
	require.NoError(t, conn.SetDeadline(time.Now().Add(Patience)))
	_, err = io.ReadFull(conn, make([]byte, len("+PONG\r\n")))
	require.NoError(t, err)
	return conn
}

func TestAProxyCutsRepliesOfCommandsThatHaveRun(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server, proxy, client := through(t)
	proxy.CutReplies()
	require.ErrorIs(t, client.Incr(ctx, "k").Err(), io.EOF)
	require.Equal(t, "1", server.Client().Get(ctx, "k").Val())
	heals(t, proxy)
}

func TestAProxyDelaysReplies(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	_, proxy, client := through(t)
	took := func() time.Duration {
		start := time.Now()
		require.NoError(t, client.Ping(ctx).Err())
		return time.Since(start)
	}
	proxy.Latency(150*time.Millisecond, 50*time.Millisecond)
	require.GreaterOrEqual(t, took(), 100*time.Millisecond)
	proxy.Latency(300*time.Millisecond, 0)
	require.GreaterOrEqual(t, took(), 300*time.Millisecond)
	proxy.Latency(Patience, 0)
	proxy.Heal()
	require.Less(t, took(), Patience, "on the same connection")
}

func TestAProxyThrottlesReplies(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server, proxy, client := through(t)
	require.NoError(t, server.Client().Set(ctx, "k", strings.Repeat("x", 100_000), 0).Err())
	proxy.Throttle(200_000)
	start := time.Now()
	require.Len(t, client.Get(ctx, "k").Val(), 100_000)
	require.Greater(t, time.Since(start), 400*time.Millisecond)
	heals(t, proxy)
}

func TestAProxyResetsConnectionsAtOnceIdleOnesToo(t *testing.T) {
	t.Parallel()
	server, proxy, client := through(t)
	conn := idle(t, proxy)
	proxy.Reset()
	_, err := conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	// go-redis may say EOF: its look at the idle connection takes the error away.
	require.Error(t, client.Ping(context.Background()).Err())
	_, err = command(proxy.Addr(), Patience, "PING")
	require.Condition(t, func() bool {
		return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	}, "%v", err)
	require.NoError(t, server.Client().Ping(context.Background()).Err())
	heals(t, proxy)
}

func TestAHalfOpenProxySaysNothingAndClosesNothing(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server, proxy, client := through(t)
	conn := idle(t, proxy)
	proxy.HalfOpen()
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	requireTimeOut(t, client.Incr(short, "k").Err())
	require.Zero(t, server.Client().Exists(ctx, "k").Val(), "the command has not arrived, either")

	_, err := command(proxy.Addr(), 100*time.Millisecond, "PING")
	requireTimeOut(t, err, "a new connection is no better")
	writeCommand(conn, "PING")
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "still open")

	heals(t, proxy)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(Patience)))
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "closed")
}

// requireTimeOut wants an error to say that time was up, be it before anything was sent: the machine may have been busy.
func requireTimeOut(t *testing.T, err error, why ...any) {
	t.Helper()
	require.True(t, errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded), "%v: %v", why, err)
}

func TestAProxyClosesSlowly(t *testing.T) {
	t.Parallel()
	server, proxy, _ := through(t)
	conn := idle(t, proxy)
	proxy.SlowClose(300 * time.Millisecond)
	start := time.Now()
	server.Kill()
	_, err := conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.GreaterOrEqual(t, time.Since(start), 300*time.Millisecond)
	server.Start()
	heals(t, proxy)
}

func TestAProxyOfAServerThatIsDownClosesConnections(t *testing.T) {
	t.Parallel()
	server := New(t, Options{})
	proxy := NewProxy(t, server.Addr())
	_, err := command(proxy.Addr(), Patience, "PING")
	require.Error(t, err)
	server.Start()
	heals(t, proxy)
}

func TestAProxyWaitsForAReceiverThatDoesNotReadUntilItIsReset(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server, proxy, _ := through(t)
	require.NoError(t, server.Client().Set(ctx, "k", strings.Repeat("x", 50<<20), 0).Err())
	conn := idle(t, proxy)
	writeCommand(conn, "GET", "k")
	_, err := io.ReadFull(conn, make([]byte, 1000)) // it flows, and more than any buffer holds is to come
	require.NoError(t, err)
	added := make(chan struct{})
	go func() {
		defer close(added)
		proxy.Latency(time.Millisecond, 0)
	}()
	proxy.Reset()
	select {
	case <-added:
	case <-time.After(Patience):
		t.Fatal("it does not end")
	}
	heals(t, proxy)
}
