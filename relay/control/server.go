package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// Options of Serve. Only Outbox is needed.
type Options struct {
	// Outbox is open, and is closed only after Serve has returned.
	Outbox *outbox.Outbox
	// Relay is the one that drains it in this process; nil: that is left to a relay that connects to the socket.
	Relay *relay.Relay
	// Lease is how long such a relay keeps the right to drain when it is not heard of, and so how long another one that waits
	// for it may have to wait; 0 or less means DefaultLease.
	Lease time.Duration
	// Yield, if set, is called, perhaps several times, when another process wants the file: this one is to close it within
	// a second. It must not block. nil: this process keeps it.
	Yield func()
	// Path is that of the socket; "" means the outbox file's with .sock appended.
	Path string
	// Listener, if set, is served in place of a socket at Path, for clients that reach it in a way of their own (NewClient);
	// Serve closes it. Each program that can connect to it may do what the owner of the file may.
	Listener net.Listener
	// Routes are more endpoints, of what this package does not know of.
	Routes []Route
	// Logger takes what happens; nil discards it. Payloads are never logged.
	Logger *slog.Logger
}

// Route is an endpoint.
type Route struct {
	// Method is GET or POST, Path a pattern of net/http below /v1/, such as /v1/matches/{id}.
	Method, Path string
	// MaxBody is how many bytes a request may have; 0 means 1 MiB.
	MaxBody int64
	// SocketOnly keeps ServeTCP from serving it.
	SocketOnly bool
	// Handle answers a request. An error that it returns is answered as an Error; it has written nothing then.
	Handle func(w http.ResponseWriter, r *http.Request) error
}

// limits keep one client from being a burden.
type limits struct {
	conns  int           // connections that are open at once
	large  int           // requests of more than body bytes that are worked on at once
	header time.Duration // for the header of a request to arrive
	arrive time.Duration // for a request to arrive
	stall  time.Duration // for a client to take what it is sent, and for what is done in between
	idle   time.Duration // between two requests of a connection
	body   int64         // bytes of a request, unless its route takes more
	page   int           // events that are read at once
	report time.Duration // for a relay that drains over the socket to tell how it does
}

var standard = limits{conns: 128, large: 2, header: 10 * time.Second, arrive: 10 * time.Second, stall: 30 * time.Second, idle: time.Minute,
	body: 1 << 20, page: 1000, report: time.Second}

// grace is how long answers that are under way may take when the server ends.
const grace = 250 * time.Millisecond

// Serve serves the control socket until ctx ends, and then returns nil after what is under way was cut short; the socket file
// is gone then. It is to be called, and to return, while the outbox is open. Errors: ErrInUse when another process serves the
// socket, a path that is too long for a unix socket (107 bytes on Linux) or whose folder cannot be written to, and what
// the system says when no more connections can be accepted.
func Serve(ctx context.Context, opts Options) error { return serve(ctx, opts, inReserve(standard)) }

func serve(ctx context.Context, opts Options, lim limits) (err error) {
	if opts.Path == "" {
		opts.Path = opts.Outbox.Path() + ".sock"
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("serve control socket %s: %w", opts.Path, err)
		}
	}()
	listener, remove := opts.Listener, func() error { return nil }
	if listener == nil {
		sock, err := bind(opts.Path)
		if err != nil {
			return err
		}
		listener, remove = sock, sock.remove
	}
	s := &server{opts: opts, limits: lim}
	opts.Logger.Debug("serving the control socket", "path", opts.Path)
	return s.run(ctx, listener, s.handler(append(s.routes(), opts.Routes...)), remove)
}

// run answers requests until ctx ends. remove is called before anything else ends then.
func (s *server) run(ctx context.Context, listener net.Listener, handler http.Handler, remove func() error) (err error) {
	requests, cancel := context.WithCancel(ctx)
	defer cancel()
	lim := s.limits
	limited := &limitedListener{Listener: listener, most: lim.conns}
	web := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: lim.header,
		ReadTimeout:       lim.arrive,
		WriteTimeout:      lim.arrive + lim.stall,
		IdleTimeout:       lim.idle,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(io.Discard, "", 0), // it would tell of clients that go away
		BaseContext:       func(net.Listener) context.Context { return requests },
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, conn)
		},
		ConnState: limited.changed,
	}
	ended := make(chan error, 1)
	go func() { ended <- web.Serve(limited) }()
	select {
	case <-ctx.Done():
		// Before anything else ends: whoever finds no socket opens the file, and waits until it is closed.
		err = remove()
		last, stop := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer stop()
		if web.Shutdown(last) != nil {
			_ = web.Close() // the listener's, which is closed already
		}
		<-ended
	case err = <-ended:
		cancel()
		err = errors.Join(err, remove(), web.Close())
	}
	s.finish()
	return err
}

// peerKey is the key of a request's connection in its context.
type peerKey struct{}

// server answers requests.
type server struct {
	opts   Options
	limits limits
	drains drains
	large  atomic.Int32 // large requests that are worked on
	// yielding: another process wants the file, and relays that stand by are to leave it alone for a while.
	yielding atomic.Bool

	mu       sync.Mutex
	finished bool           // guarded by mu
	running  sync.WaitGroup // handlers
}

// enter says whether a request may begin; it is to call running.Done then.
func (s *server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished {
		return false
	}
	s.running.Add(1)
	return true
}

// finish waits for the handlers: what they use may be closed then.
func (s *server) finish() {
	s.mu.Lock()
	s.finished = true
	s.mu.Unlock()
	s.running.Wait()
}
