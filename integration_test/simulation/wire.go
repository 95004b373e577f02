package simulation

import (
	"context"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/PitchConnect/matchrelay/relay/control"
)

// link is a relay process's way to the control socket: its connections, which all go silent at once.
type link struct {
	w      *world
	silent bool // guarded by world.wires, as are all that follow
	ends   []*end
	leased uint64 // the number of the lease that the relay process got last
}

// end is one end of a connection in memory. What it writes is under way until the other one reads it; while the link is
// silent nothing arrives, neither that nor that the other one has closed.
type end struct {
	*link
	other   *end
	process *process // that serves the socket; nil at the relay's end
	wake    chan struct{}

	arrived  []byte // guarded by world.wires, as are all that follow
	read     int    // bytes of it
	closed   bool
	cut      bool
	deadline time.Time

	fence // of the end that serves
}

// socket is the control socket of a process.
type socket struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func newSocket() *socket {
	s := &socket{conns: make(chan net.Conn), closed: make(chan struct{})}
	s.close = sync.OnceFunc(func() { close(s.closed) })
	return s
}

// Accept implements net.Listener, as do Close and Addr.
func (s *socket) Accept() (net.Conn, error) {
	select {
	case conn := <-s.conns:
		return conn, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *socket) Close() error {
	s.close()
	return nil
}

func (s *socket) Addr() net.Addr { return &net.UnixAddr{Name: "in memory", Net: "unix"} }

// dial connects to the process that serves the socket now.
func (l *link) dial(ctx context.Context) (net.Conn, error) {
	l.w.mu.Lock()
	p := l.w.process
	l.w.mu.Unlock()
	if p == nil || p.socket == nil {
		return nil, control.ErrNotRunning
	}
	near, far := &end{link: l, wake: make(chan struct{}, 1)}, &end{link: l, wake: make(chan struct{}, 1), process: p}
	near.other, far.other = far, near
	select {
	case p.socket.conns <- far:
	case <-p.socket.closed:
		return nil, control.ErrNotRunning
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	l.w.wires.Lock()
	defer l.w.wires.Unlock()
	l.ends = append(l.ends, near, far)
	return near, nil
}

// silence begins or ends one.
func (l *link) silence(silent bool) {
	l.w.wires.Lock()
	defer l.w.wires.Unlock()
	l.silent = silent
	for _, e := range l.ends {
		e.look()
	}
}

// sever cuts off all connections; what is under way is lost.
func (l *link) sever() {
	l.w.wires.Lock()
	defer l.w.wires.Unlock()
	for _, e := range l.ends {
		e.cut = true
		e.look()
	}
}

// shut closes ends, as the system does when a process dies: what was written, arrives.
func (l *link) shut(meant func(*end) bool) {
	l.w.wires.Lock()
	defer l.w.wires.Unlock()
	for _, e := range l.ends {
		if meant(e) {
			e.shut()
		}
	}
}

// look has the reader look again.
func (e *end) look() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *end) shut() {
	e.closed = true
	e.look()
	e.other.look()
}

// Read implements net.Conn, as do all that follow.
func (e *end) Read(b []byte) (int, error) {
	for {
		e.w.wires.Lock()
		wait := time.Until(e.deadline)
		n, err := 0, error(nil)
		switch {
		case e.closed:
			err = net.ErrClosed
		case e.cut:
			err = syscall.ECONNRESET
		case !e.deadline.IsZero() && wait <= 0:
			err = os.ErrDeadlineExceeded
		case e.silent:
		case len(e.arrived) > e.read:
			n = copy(b, e.arrived[e.read:])
			if e.read += n; e.read == len(e.arrived) {
				e.arrived, e.read = e.arrived[:0], 0
			}
			e.arrives(b[:n])
		case e.other.closed:
			err = io.EOF
		}
		limited := !e.deadline.IsZero()
		e.w.wires.Unlock()
		if n > 0 || err != nil || len(b) == 0 {
			return n, err
		}
		var expired <-chan time.Time
		if limited {
			timer := time.NewTimer(wait)
			expired = timer.C
			defer timer.Stop()
		}
		select {
		case <-e.wake:
		case <-expired:
		}
	}
}

func (e *end) Write(b []byte) (int, error) {
	e.w.wires.Lock()
	defer e.w.wires.Unlock()
	if e.closed {
		return 0, net.ErrClosed
	}
	if e.process != nil {
		e.answers(b) // whether or not the relay is there to be told
	}
	switch {
	case e.cut:
		return 0, syscall.ECONNRESET
	case e.other.closed && !e.silent:
		return 0, syscall.EPIPE
	}
	e.other.arrived = append(e.other.arrived, b...)
	e.other.look()
	return len(b), nil
}

func (e *end) Close() error {
	e.w.wires.Lock()
	defer e.w.wires.Unlock()
	e.shut()
	e.ends = slices.DeleteFunc(e.ends, func(other *end) bool { return other == e })
	return nil
}

func (e *end) SetReadDeadline(t time.Time) error {
	e.w.wires.Lock()
	defer e.w.wires.Unlock()
	e.deadline = t
	e.look()
	return nil
}

func (e *end) SetWriteDeadline(time.Time) error { return nil }
func (e *end) SetDeadline(t time.Time) error    { return e.SetReadDeadline(t) }
func (e *end) LocalAddr() net.Addr              { return &net.UnixAddr{Name: "in memory", Net: "unix"} }
func (e *end) RemoteAddr() net.Addr             { return e.LocalAddr() }
