package control

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/pipenet"
	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
)

const token = "0123456789abcdef-secret"

// port is what a client of ServeTCP sees.
type port struct {
	t    *testing.T
	addr string
	log  *bytes.Buffer
	stop func() error
}

// echoRoute answers with what it was sent, and by whom.
var echoRoute = Route{Method: "POST", Path: "/v1/echo", Handle: func(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return &Error{Code: "broken", Message: "broken", Status: http.StatusBadRequest}
	}
	respond(w, http.StatusOK, string(body)+" from "+Actor(r.Context()))
	return nil
}}

// startTCP serves an echo, and one that is for the socket only.
func startTCP(t *testing.T, lim limits) *port {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &port{t: t, addr: listener.Addr().String(), log: &bytes.Buffer{}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- serveTCP(ctx, TCPOptions{Listener: listener, Token: token, Logger: slog.New(slog.NewTextHandler(p.log, nil)), Routes: []Route{
			echoRoute, {Method: "POST", Path: "/v1/own", SocketOnly: true, Handle: echoRoute.Handle},
		}}, lim)
	}()
	p.stop = func() error {
		cancel()
		select {
		case err := <-ended:
			ended <- err
			return err
		case <-time.After(redistest.Patience):
			return errors.New("it does not end")
		}
	}
	t.Cleanup(func() { require.NoError(t, p.stop()) })
	return p
}

// do sends a request as it is, with a token unless the head has other authorization, and returns the answer.
func (p *port) do(request, head string) (*http.Response, string) {
	p.t.Helper()
	conn, err := net.Dial("tcp", p.addr)
	require.NoError(p.t, err)
	defer conn.Close()
	if !strings.Contains(head, "uthorization:") {
		head += "Authorization: Bearer " + token + "\r\n"
	}
	if !strings.Contains(head, "Host:") {
		head += "Host: " + p.addr + "\r\n"
	}
	_, err = conn.Write([]byte(request + " HTTP/1.1\r\n" + head + "Content-Length: 2\r\nConnection: close\r\n\r\nhi"))
	require.NoError(p.t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(p.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(p.t, err)
	return response, string(body)
}

func TestOnlyTheTokenLetsIn(t *testing.T) {
	p := startTCP(t, patient)
	response, body := p.do("POST /v1/echo", "")
	require.Equal(t, 200, response.StatusCode)
	require.Equal(t, "\"hi from unknown\"\n", body)
	response, _ = p.do("POST /v1/echo", "authorization: bearer   "+token+" \r\n")
	require.Equal(t, 200, response.StatusCode)
	for _, tt := range []struct{ name, header string }{
		{"none", "X-Authorization: Bearer " + token},
		{"an empty one", "Authorization: Bearer "},
		{"no scheme", "Authorization: " + token},
		{"another scheme", "Authorization: Basic " + token},
		{"another token", "Authorization: Bearer 0123456789abcdef-secreT"},
		{"its beginning", "Authorization: Bearer 0123456789abcdef"},
		{"more than it", "Authorization: Bearer " + token + "x"},
		{"two of them", "Authorization: Bearer x\r\nAuthorization: Bearer " + token},
	} {
		for _, request := range []string{"POST /v1/echo", "POST /v1/own", "GET /v1/echo", "GET /nonsense", "OPTIONS /v1/echo"} {
			t.Run(tt.name+", "+request, func(t *testing.T) {
				p := &port{t: t, addr: p.addr}
				response, body := p.do(request, tt.header+"\r\n")
				require.Equal(t, 401, response.StatusCode)
				require.Equal(t, `Bearer realm="matchrelay"`, response.Header.Get("WWW-Authenticate"))
				require.Contains(t, body, `"code":"unauthorized"`)
				require.NotContains(t, body, token)
			})
		}
	}
	require.NoError(t, p.stop())
	require.NotContains(t, p.log.String(), "secret")
	_, err := net.Dial("tcp", p.addr)
	require.Error(t, err, "the port is free again")
}

func TestTheSocketsOwnEndpointsAreNotServedOnAPort(t *testing.T) {
	p := startTCP(t, patient)
	for _, request := range []string{"POST /v1/own", "GET /v1/status", "POST /v1/pause", "POST /v1/events/replay", "POST /v1/events/discard", "GET /v1/events", "GET /v1/audit"} {
		response, body := p.do(request, "")
		require.Equal(t, 404, response.StatusCode, request)
		require.Contains(t, body, `"code":"unknown_path"`)
	}
	response, _ := p.do("GET /v1/echo", "")
	require.Equal(t, 405, response.StatusCode)
}

func TestAnotherHostIsAWebPages(t *testing.T) {
	p := startTCP(t, patient)
	for host, status := range map[string]int{"localhost": 200, "LOCALHOST:80": 200, "127.0.0.1": 200, "127.9.9.9:1": 200, "[::1]:80": 200, "[::1]": 200,
		"evil.example": 421, "evil.example:8000": 421, "localhost.evil.example": 421, "192.168.1.2": 421, "": 421, "127.0.0.1.evil.example": 421} {
		response, body := p.do("POST /v1/echo", "Host: "+host+"\r\n")
		require.Equal(t, status, response.StatusCode, host)
		require.Equal(t, status == 421, strings.Contains(body, `"code":"wrong_host"`), host)
	}
}

func TestOnlyALoopbackAddressWithATokenIsServed(t *testing.T) {
	everywhere, err := net.Listen("tcp", ":0")
	require.NoError(t, err)
	ended, end := context.WithCancel(t.Context())
	end()
	err = ServeTCP(ended, TCPOptions{Listener: everywhere, Token: token})
	require.ErrorIs(t, err, outbox.ErrInvalid)
	require.ErrorContains(t, err, "is no loopback address")
	loopback, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	err = ServeTCP(ended, TCPOptions{Listener: loopback, Token: "short-secret"})
	require.ErrorIs(t, err, outbox.ErrInvalid)
	require.NotContains(t, err.Error(), "secret")
	for _, l := range []net.Listener{everywhere, loopback} {
		require.ErrorIs(t, l.Close(), net.ErrClosed)
	}
}

func TestAPortHasTheLimitsOfTheSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := pipenet.Listen()
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() {
			ended <- serveTCP(ctx, TCPOptions{Listener: listener, Token: token, Routes: []Route{echoRoute}}, standard)
		}()
		conn, err := listener.Dial(ctx, "", "")
		require.NoError(t, err)
		began := time.Now()
		_, err = conn.Write([]byte("POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token + "\r\nContent-Length: 10\r\n\r\nhi"))
		require.NoError(t, err)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.Equal(t, 400, response.StatusCode, "it does not wait for the rest")
		require.Equal(t, standard.arrive, time.Since(began))
		require.NoError(t, errors.Join(response.Body.Close(), conn.Close()))
		cancel()
		require.NoError(t, <-ended)
	})
}
