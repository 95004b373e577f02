package relay_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// spoiled are replies that no Redis gives to anything that the relay or a reader of streams asks.
var spoiled = []string{
	"*0\r\n", "*-1\r\n", "$-1\r\n", "$0\r\n\r\n", ":0\r\n", ":-1\r\n", "+OK\r\n", "*1\r\n*0\r\n", "*2\r\n*-1\r\n$-1\r\n", "_\r\n", "%0\r\n", ">0\r\n", "~0\r\n",
	"$999999999999999999\r\n", "$400000000\r\n", "$-5\r\n", "*999999999999\r\n", "*100000000\r\n", "%100000000\r\n", ":99999999999999999999\r\n",
	"\r\n", "\n", "\x00\x00\x00", "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "-\r\n", "-ERR \x1b[2J\r\n", "|1\r\n+a\r\n:1\r\n+OK\r\n",
	strings.Repeat("*1\r\n", 100_000), strings.Repeat("*2\r\n:1\r\n", 100_000), strings.Repeat("%1\r\n", 100_000), "+" + strings.Repeat("x", 1<<20),
	script("OK", "-1", "x"), script("OK", "9223372036854775807", "x"), script("OK", "1", ""), script("OK", "1", strings.Repeat("x", 65)),
	script("LOST", "-1", "x"), script("LOST", "9007199254740992", "x"), script("LOST", "1", "a b"), script("LOST", "0", "x"), script("GONE", "1e3", "x"),
	script("HELD", "1", "\x1b[2J"), script("NONE", "0", ""), script("ERR", "0", ""), script("", "", ""),
	strings.Replace(script("OK", "0", ""), "c0ffee", strings.Repeat("f", 1<<20), 1), strings.Replace(script("RUN", "0", ""), "c0ffee", "\xff\xfe", 1),
	"*2\r\n$3\r\n1-1\r\n*0\r\n", "*1\r\n*2\r\n$18\r\n{test:news}:stream\r\n*1\r\n*2\r\n$1\r\nx\r\n*0\r\n", "*1\r\n*2\r\n$1\r\nx\r\n*0\r\n",
	"$16000000\r\n", "*200000\r\n" + strings.Repeat("$5\r\nxxxxx\r\n", 200_000),
	"*1\r\n*2\r\n$18\r\n{test:news}:stream\r\n*1\r\n*2\r\n$-1\r\n*-1\r\n", "*5\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n",
}

// script is an answer of publish.lua, right in form.
func script(status, sequence, id string) string {
	var b strings.Builder
	b.WriteString("*9\r\n")
	for _, s := range []string{status, sequence, id, "c0ffee"} {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(s), s)
	}
	b.WriteString(":0\r\n:0\r\n$0\r\n\r\n$1\r\n0\r\n$0\r\n\r\n")
	return b.String()
}

// strangeServer stands before a Redis and spoils some of its replies, until it is told to be honest.
type strangeServer struct {
	listener net.Listener
	upstream string
	flips    bool // also changes a few bytes
	honest   atomic.Bool
	spoils   atomic.Int64
	conns    sync.WaitGroup

	mu   sync.Mutex
	rand *rand.Rand // guarded by mu
}

func newStrangeServer(t *testing.T, upstream string, flips bool, seed uint64) *strangeServer {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &strangeServer{listener: listener, upstream: upstream, flips: flips, rand: rand.New(rand.NewPCG(seed, 0))}
	s.conns.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.conns.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		s.conns.Wait() // for the client is closed before
	})
	return s
}

func (s *strangeServer) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", s.upstream)
	if err != nil {
		return
	}
	defer server.Close()
	s.conns.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	})
	reply := make([]byte, 64<<10)
	for {
		n, err := server.Read(reply)
		if err != nil {
			return
		}
		said := reply[:n]
		if !s.honest.Load() {
			said = s.spoil(said)
		}
		if _, err := client.Write(said); err != nil {
			return
		}
	}
}

// spoil changes some replies: into one that has nothing to do with it, or a few bytes.
func (s *strangeServer) spoil(reply []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch n := s.rand.IntN(6); {
	case n == 0:
		s.spoils.Add(1)
		return []byte(spoiled[s.rand.IntN(len(spoiled))])
	case n == 1 && s.flips:
		s.spoils.Add(1)
		reply = bytes.Clone(reply)
		for range 1 + s.rand.IntN(3) {
			// The digits of a run_id and of the number of subscribers are left alone: another one is believed.
			if i := s.rand.IntN(len(reply)); !strings.ContainsRune("0123456789abcdef", rune(reply[i])) {
				reply[i] = byte(s.rand.IntN(256))
			}
		}
		return reply
	}
	return reply
}
