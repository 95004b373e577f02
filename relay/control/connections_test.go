package control

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/pipenet"
	"github.com/PitchConnect/matchrelay/integration_test/redistest"
)

const (
	withToken = "Host: localhost\r\nAuthorization: Bearer " + token + "\r\n"
	noToken   = "Host: localhost\r\n"
)

func connect(t *testing.T, network, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(redistest.Patience)))
	return conn
}

// send sends a request, and its answer is read whole; the connection stays.
func send(t *testing.T, conn net.Conn, head, body string) *http.Response {
	t.Helper()
	_, err := conn.Write([]byte(head + body))
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	return response
}

// askEcho sends a request of the endpoint, and echo tells the status of its answer.
func askEcho(t *testing.T, conn net.Conn, headers string) *http.Response {
	t.Helper()
	return send(t, conn, "POST /v1/echo HTTP/1.1\r\n"+headers+"Content-Length: 2\r\n\r\n", "hi")
}

func echo(t *testing.T, conn net.Conn, headers string) int {
	t.Helper()
	return askEcho(t, conn, headers).StatusCode
}

// requireClosed waits until the server has closed a connection.
func requireClosed(t *testing.T, conn net.Conn, note string) {
	t.Helper()
	_, err := conn.Read(make([]byte, 1))
	require.Error(t, err, note)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, note)
}

func TestServeTCP_KeepsNoConnectionWithoutTheToken(t *testing.T) {
	p := startTCP(t, patient)
	for _, tt := range []struct {
		name, headers string
		status        int
	}{
		{"no token", noToken, 401},
		{"another host", "Host: evil.example\r\nAuthorization: Bearer " + token + "\r\n", 421},
	} {
		conn := connect(t, "tcp", p.addr)
		response := askEcho(t, conn, tt.headers)
		require.Equal(t, tt.status, response.StatusCode, tt.name)
		require.True(t, response.Close, "%s: the client is told", tt.name)
		requireClosed(t, conn, tt.name)
	}
	conn := connect(t, "tcp", p.addr)
	require.Equal(t, 200, echo(t, conn, withToken))
	require.Equal(t, 200, echo(t, conn, withToken), "with the token it stays")
}

func TestServeTCP_HasRoomWhateverConnects(t *testing.T) {
	lim := patient
	lim.conns = standardPort.conns
	p := startTCP(t, lim)
	mine := connect(t, "tcp", p.addr)
	require.Equal(t, 200, echo(t, mine, withToken))
	var others []net.Conn
	for range 5 * lim.conns {
		others = append(others, connect(t, "tcp", p.addr))
	}
	for _, conn := range others[:4*lim.conns] {
		requireClosed(t, conn, "those that have waited longest make room")
	}
	requireClosed(t, mine, "whoever has been idle for longer than they have")
	require.Equal(t, 200, echo(t, connect(t, "tcp", p.addr), withToken))
	require.Equal(t, 401, echo(t, others[len(others)-1], noToken), "the others stay")
}

func TestServeTCP_ClosesNoConnectionWhoseRequestIsUnderWay(t *testing.T) {
	lim := patient
	lim.conns = 2
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	entered, answer := make(chan bool), make(chan bool)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- serveTCP(ctx, TCPOptions{Listener: listener, Token: token, Routes: []Route{{Method: "POST", Path: "/v1/echo",
			Handle: func(w http.ResponseWriter, r *http.Request) error {
				entered <- true
				select {
				case <-answer:
				case <-r.Context().Done():
				}
				return echoRoute.Handle(w, r)
			}}}}, lim)
	}()
	defer func() {
		cancel()
		require.NoError(t, <-ended)
	}()
	addr := listener.Addr().String()
	var requests sync.WaitGroup
	for range lim.conns {
		conn := connect(t, "tcp", addr)
		requests.Go(func() {
			if status := echo(t, conn, withToken); status != 200 {
				t.Error(status)
			}
		})
		<-entered
	}
	requireClosed(t, connect(t, "tcp", addr), "none of them waits")
	for range lim.conns {
		answer <- true
	}
	requests.Wait()
	last := connect(t, "tcp", addr)
	go func() { <-entered; answer <- true }()
	require.Equal(t, 200, echo(t, last, withToken))
	go func() { <-entered; answer <- true }()
	require.Equal(t, 200, echo(t, last, withToken))
}

func TestServeTCP_GivesAHeaderFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := pipenet.Listen()
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() {
			ended <- ServeTCP(ctx, TCPOptions{Listener: listener, Token: token, Routes: []Route{echoRoute}})
		}()
		for _, tt := range []struct {
			name, sent string
			after      time.Duration
		}{
			{"silent", "", 5 * time.Second},
			{"half a header", "POST /v1/echo HTTP/1.1\r\nHost: local", 5 * time.Second},
			{"idle", "POST /v1/echo HTTP/1.1\r\n" + withToken + "Content-Length: 0\r\n\r\n", 15 * time.Second},
		} {
			conn, err := listener.Dial(ctx, "", "")
			require.NoError(t, err)
			began := time.Now()
			_, err = conn.Write([]byte(tt.sent))
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, conn)
			require.NoError(t, err, tt.name)
			require.Equal(t, tt.after, time.Since(began), tt.name)
			require.NoError(t, conn.Close())
		}
		cancel()
		require.NoError(t, <-ended)
	})
}

func TestServe_HasRoomWhateverConnects(t *testing.T) {
	g := start(t, openBox(t), nil, patient)
	var idle []net.Conn
	for range 2 * standard.conns {
		idle = append(idle, connect(t, "unix", g.path))
	}
	for _, conn := range idle[:standard.conns] {
		requireClosed(t, conn, "those that have waited longest make room")
	}
	_, err := g.client.Status(t.Context())
	require.NoError(t, err)
}

func TestServe_WorksOnTwoLargeRequestsAtOnce(t *testing.T) {
	entered, answer := make(chan bool), make(chan bool)
	box := openBox(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	path := box.Path() + ".sock"
	go func() {
		ended <- serve(ctx, Options{Outbox: box, Path: path, Routes: []Route{{Method: "POST", Path: "/v1/large", MaxBody: 8 << 20,
			Handle: func(w http.ResponseWriter, r *http.Request) error {
				entered <- true
				select {
				case <-answer:
				case <-r.Context().Done():
				}
				return echoRoute.Handle(w, r)
			}}}}, patient)
	}()
	defer func() {
		cancel()
		require.NoError(t, <-ended)
	}()
	var client *Client
	require.Eventually(t, func() (ok bool) {
		var err error
		client, err = Dial(path)
		return err == nil
	}, redistest.Patience, time.Millisecond)
	defer client.Close()
	large := strings.Repeat("x", 2<<20)
	post := func(body io.Reader) error {
		return client.Call(ctx, Request{Method: "POST", Path: "/v1/large", Body: body}, new(string))
	}
	var requests sync.WaitGroup
	for range 2 {
		requests.Go(func() {
			if err := post(strings.NewReader(large)); err != nil {
				t.Error(err)
			}
		})
		<-entered
	}
	require.ErrorIs(t, post(strings.NewReader(large)), ErrBusy)
	require.ErrorIs(t, post(io.MultiReader(strings.NewReader("of a length that is not told"))), ErrBusy)
	response := send(t, connect(t, "unix", path), "POST /v1/large HTTP/1.1\r\nHost: x\r\nContent-Length: 2097152\r\n\r\n", "")
	require.Equal(t, 503, response.StatusCode)
	require.Equal(t, "1", response.Header.Get("Retry-After"))
	requests.Go(func() {
		if err := post(strings.NewReader("small")); err != nil {
			t.Error(err)
		}
	})
	<-entered
	for range 3 {
		answer <- true
	}
	requests.Wait()
	go func() { <-entered; answer <- true }()
	require.NoError(t, post(strings.NewReader(large)), "there is room again")
}
