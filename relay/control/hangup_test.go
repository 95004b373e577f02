package control

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// answering serves a socket that answers the first request of each connection, and stays or closes the connection.
func answering(t *testing.T, answer string, stays bool) (path string) {
	path = filepath.Join(folder(t), "s")
	listener, err := net.Listen("unix", path)
	require.NoError(t, err)
	var connections errgroup.Group
	connections.Go(func() error {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return nil
			}
			connections.Go(func() error {
				defer conn.Close()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
					return nil // the client has dialed only
				}
				_, _ = io.WriteString(conn, answer)
				if stays {
					_, _ = io.Copy(io.Discard, conn)
				}
				return nil
			})
		}
	})
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		require.NoError(t, connections.Wait())
	})
	return path
}

// ending is a connection whose other side closes it when the test says so.
type ending struct {
	net.Conn
	closed atomic.Bool
	once   sync.Once
	read   chan struct{} // closed when the end was read
}

func (c *ending) end() {
	c.closed.Store(true)
	_ = c.SetReadDeadline(time.Unix(1, 0))
	<-c.read
}

func (c *ending) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && c.closed.Load() {
		c.once.Do(func() { close(c.read) })
		return n, io.EOF
	}
	return n, err
}

func TestHangUp_OfAConnectionThatIsJustUsedAgainIsAProcessThatHasGone(t *testing.T) {
	path := answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", true)
	c := NewClient(path, func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx, path, "")
		return &ending{Conn: conn, read: make(chan struct{})}, err
	})
	defer c.Close()
	ended := false
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		if ended = got.Reused; ended { // it is chosen, and nothing is written yet
			got.Conn.(*ending).end()
			for range 1000 { // net/http's own reader takes note of that, most of the time
				runtime.Gosched()
			}
		}
	}})
	for times := 0; times < 50; {
		if _, err := c.Pause(ctx); ended {
			require.ErrorIs(t, err, ErrNotRunning)
			times++
		} else {
			require.NoError(t, err)
		}
	}
}

func TestHangUp_WithinAnAnswerIsAProcessThatHasGone(t *testing.T) {
	for _, begun := range []string{"", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"} {
		c, err := Dial(answering(t, begun, false))
		require.NoError(t, err)
		defer c.Close()
		_, err = c.Pause(t.Context())
		require.ErrorIs(t, err, ErrNotRunning, strings.TrimSpace(begun))
		_, err = c.Backup(t.Context(), new(strings.Builder))
		require.ErrorIs(t, err, ErrNotRunning, strings.TrimSpace(begun))
	}
}
