package control

import (
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
)

// limitedListener has at most so many connections open at once. When one more comes, the one that has waited longest makes room:
// it has no request under way that was let in. Where none waits, the new one is closed. Neither is left to wait for room, as
// netutil.LimitListener would have it: behind those who only hold a connection open, no one would get in.
type limitedListener struct {
	net.Listener
	most int

	mu      sync.Mutex
	open    int            // guarded by mu
	waiting []*limitedConn // guarded by mu: those without a request under way, the longest waiting first
}

// inReserve leaves half of the files that the process may have open to Redis and the outbox, whatever connects to the socket and a
// port.
func inReserve(lim limits) limits {
	var files syscall.Rlimit // Go has raised it as far as it may
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil && uint64(files.Cur)/4 < uint64(lim.conns) {
		lim.conns = max(1, int(files.Cur/4))
	}
	return lim
}

// limitedConn is a connection of a limitedListener.
type limitedConn struct {
	net.Conn
	listener *limitedListener
	closed   bool // guarded by listener.mu
}

// Accept implements net.Listener.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.admit(conn); c != nil {
			return c, nil
		}
		_ = conn.Close() // nothing was said
	}
}

// admit makes room for a connection, or returns nil.
func (l *limitedListener) admit(conn net.Conn) *limitedConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.most {
		if len(l.waiting) == 0 {
			return nil
		}
		_ = l.waiting[0].Conn.Close() // it may have gone meanwhile
		l.leave(l.waiting[0])
	}
	c := &limitedConn{Conn: conn, listener: l}
	l.open++
	l.waiting = append(l.waiting, c)
	return c
}

// changed is http.Server.ConnState: a connection whose request is answered waits for the next one.
func (l *limitedListener) changed(conn net.Conn, state http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := conn.(*limitedConn); state == http.StateIdle && !c.closed {
		l.stopWaiting(c)
		l.waiting = append(l.waiting, c)
	}
}

// leave is called with mu, perhaps several times.
func (l *limitedListener) leave(c *limitedConn) {
	if !c.closed {
		c.closed = true
		l.open--
		l.stopWaiting(c)
	}
}

// stopWaiting is called with mu.
func (l *limitedListener) stopWaiting(c *limitedConn) {
	l.waiting = slices.DeleteFunc(l.waiting, func(w *limitedConn) bool { return w == c })
}

// busy is called when a request of the connection is let in.
func (c *limitedConn) busy() {
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	c.listener.stopWaiting(c)
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	c.listener.mu.Lock()
	c.listener.leave(c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite lets net/http end an answer before the request has come whole, without the client losing it.
func (c *limitedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
