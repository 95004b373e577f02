package control

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// MinToken is how many characters a bearer token has at least.
const MinToken = 16

// TCPOptions of ServeTCP. All but Logger are needed.
type TCPOptions struct {
	// Listener is bound to a loopback address; ServeTCP closes it.
	Listener net.Listener
	// Token is what clients prove themselves with (Authorization: Bearer …): at least MinToken characters.
	Token string
	// Routes are all that is served, but for those that are SocketOnly.
	Routes []Route
	// Logger takes what happens; nil discards it. Payloads and tokens are never logged.
	Logger *slog.Logger
}

// ServeTCP serves routes on a loopback address until ctx ends, for programs that cannot use a unix socket, under limits like
// those of Serve, and like it is to return before the outbox is closed. Every local user can connect to a port, and so can
// every web page that a local browser shows: so each request has to bring the token, and name the loopback address as its
// host. Of the socket's own endpoints none is served. Errors: outbox.ErrInvalid for another address or a short token, and
// what the system says when no more connections can be accepted.
func ServeTCP(ctx context.Context, opts TCPOptions) error {
	return serveTCP(ctx, opts, inReserve(standardPort))
}

// standardPort are the limits of a port. Who connects to it need not have the token.
var standardPort = func() limits {
	lim := standard
	lim.conns, lim.header, lim.idle = 64, 5*time.Second, 15*time.Second
	return lim
}()

func serveTCP(ctx context.Context, opts TCPOptions, lim limits) error {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	addr, ok := opts.Listener.Addr().(*net.TCPAddr)
	var err error
	switch {
	case !ok || !addr.IP.IsLoopback():
		err = invalid("%v is no loopback address; expected one such as 127.0.0.1:8000", opts.Listener.Addr())
	case len(opts.Token) < MinToken:
		err = invalid("the token has less than %d characters", MinToken)
	default:
		s := &server{limits: lim}
		inner := s.handler(slices.DeleteFunc(slices.Clone(opts.Routes), func(r Route) bool { return r.SocketOnly }))
		opts.Logger.Info("serving the API", "address", addr.String())
		// Closing is not left to the server: one that ends before it begins has no listener yet.
		err = s.run(ctx, opts.Listener, guard(sha256.Sum256([]byte(opts.Token)), inner), func() error { return nil })
	}
	_ = opts.Listener.Close() // the server has done so, if it began
	if err != nil {
		return fmt.Errorf("serve API: %w", err)
	}
	return nil
}

// guard lets nobody through without the token, answers before anything of the body is read, and keeps no connection for them.
func guard(token [sha256.Size]byte, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		deny := func(e *Error) {
			w.Header().Set("Connection", "close")
			refuse(w, e, nil)
		}
		hash := sha256.Sum256([]byte(strings.TrimSpace(given))) // of equal length, whatever was given
		switch {
		case !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(hash[:], token[:]) != 1:
			w.Header().Set("WWW-Authenticate", `Bearer realm="matchrelay"`)
			deny(&Error{Code: "unauthorized", Message: "expected the header Authorization: Bearer TOKEN with the token that the server was started with (MATCHRELAY_HTTP_TOKEN)",
				Status: http.StatusUnauthorized})
		case !loopbackHost(r.Host):
			deny(&Error{Code: "wrong_host", Message: "expected the header Host to be localhost or a loopback address: another name may be a web page's",
				Status: http.StatusMisdirectedRequest})
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// loopbackHost says whether a request means this machine by its own name.
func loopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.EqualFold(host, "localhost") || net.ParseIP(strings.Trim(host, "[]")).IsLoopback()
}
