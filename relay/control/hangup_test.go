package control

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// fleeting serves a socket as a process that ends does: each connection is closed after an answer, at any moment of the next
// request.
func fleeting(t *testing.T, answer string) *Client {
	path := filepath.Join(folder(t), "s")
	listener, err := net.Listen("unix", path)
	require.NoError(t, err)
	var connections errgroup.Group
	connections.Go(func() error {
		for i := 0; ; i++ {
			conn, err := listener.Accept()
			if err != nil {
				return nil
			}
			connections.Go(func() error {
				defer conn.Close()
				r, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return nil // the client has dialed only
				}
				_, _ = r.Body.Read(make([]byte, 100))
				_, _ = conn.Write([]byte(answer)) // the client may have gone
				time.Sleep(time.Duration(i%50) * time.Microsecond)
				return nil
			})
		}
	})
	c, err := Dial(path)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, c.Close())
		require.NoError(t, listener.Close())
		require.NoError(t, connections.Wait())
	})
	return c
}

func TestHangUp_IsAProcessThatHasGoneWheneverItHappens(t *testing.T) {
	c := fleeting(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
	for range 2000 {
		if _, err := c.Pause(context.Background()); err != nil {
			require.ErrorIs(t, err, ErrNotRunning)
		}
	}
}

func TestHangUp_IsAProcessThatHasGoneWithinAnAnswer(t *testing.T) {
	for _, begun := range []string{"", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"} {
		c := fleeting(t, begun)
		_, err := c.Pause(context.Background())
		require.ErrorIs(t, err, ErrNotRunning, strings.TrimSpace(begun))
		_, err = c.Backup(context.Background(), new(strings.Builder))
		require.ErrorIs(t, err, ErrNotRunning, strings.TrimSpace(begun))
	}
}
