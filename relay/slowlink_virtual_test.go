package relay

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/outbox"
)

// slowConn takes its time for what is sent.
type slowConn struct {
	net.Conn
	bytesPerSecond int
}

func (c slowConn) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		piece := p[n:min(n+c.bytesPerSecond/100, len(p))]
		time.Sleep(time.Duration(len(piece)) * time.Second / time.Duration(c.bytesPerSecond))
		var written int
		written, err = c.Conn.Write(piece)
		n += written
	}
	return n, err
}

// acceptAll answers every script as one that has published event #1, and knows no other command.
func acceptAll(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadString('\n') // *n, then $size and the word, n times
		if err != nil {
			return
		}
		reply := "-ERR unknown command\r\n"
		for range lengthOf(line) {
			size, err := in.ReadString('\n')
			if err != nil {
				return
			}
			word := make([]byte, lengthOf(size)+len("\r\n"))
			if _, err := io.ReadFull(in, word); err != nil {
				return
			}
			if strings.EqualFold(string(word), "evalsha\r\n") {
				reply = "*9\r\n+OK\r\n+1\r\n+m\r\n+c0ffee\r\n:1\r\n:1\r\n+\r\n+0\r\n+\r\n"
			}
		}
		if _, err := io.WriteString(conn, reply); err != nil {
			return
		}
	}
}

func lengthOf(line string) (n int) {
	for _, c := range strings.TrimSpace(line[1:]) {
		n = 10*n + int(c-'0')
	}
	return n
}

func TestACallOverASlowConnectionEndsAfterSomeTimeOuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := NewClient(ClientOptions{Addrs: []string{"redis:6379"}}).(*redis.Client)
		client.Options().Dialer = func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			go acceptAll(far)
			return slowConn{near, 1_000_000}, nil
		}
		target := NewRedis(client, 400*time.Millisecond)
		_, err := target.Publish(t.Context(), Batch{Channel: "test:news", Origin: "o", Predecessor: outbox.Mark{Sequence: 1, MessageID: "m"}}) // it has answered once
		require.NoError(t, err)
		b := Batch{Channel: "test:news", Origin: "o",
			Events: []outbox.Entry{{Sequence: 1, MessageID: "m", Payload: []byte(strings.Repeat("x", 1_000_000))}}} // a second
		for range 2 { // 400 ms, 800 ms
			_, err := target.Publish(t.Context(), b)
			_, mend := Explain(err)
			require.Contains(t, mend, "raise REDIS_SOCKET_TIMEOUT", err)
		}
		replies, err := target.Publish(t.Context(), b)
		require.NoError(t, err)
		require.Equal(t, outbox.Mark{Sequence: 1, MessageID: "m"}, replies[0].Mark)
		require.NoError(t, client.Close())
	})
}
