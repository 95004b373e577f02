package relay

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"syscall"
)

// What a reply may have. go-redis allocates whatever length a reply claims, reads lines of any length, and calls itself for each
// array within an array: what is no Redis, or a broken one, could take all memory, or end the process.
const (
	replyBulk     = 64 << 20  // bytes of one string: the largest is an event, in a stream
	replyLine     = 64 << 10  // bytes of one line: the longest is an error
	replyDepth    = 32        // arrays within arrays: COMMAND has eight
	replyBytes    = 128 << 20 // bytes of one reply with events: four of a stream, 24 MiB each by default
	answerBytes   = 16 << 20  // bytes of any other reply: CLIENT LIST with some 40,000 subscribers. The relay reads several at once
	sentinelBytes = 1 << 20   // the same of a Sentinel's: what it knows of three hundred others
	replyElement  = 64        // bytes that an element of an array takes here, at least
)

// strangeError says that what answers does not behave like Redis, and how.
type strangeError string

func strange(format string, args ...any) error { return strangeError(fmt.Sprintf(format, args...)) }

func (e strangeError) Error() string { return "what answers does not behave like Redis: " + string(e) }

// guarded makes the connections of a dialer check each reply before anybody else reads it; most bounds it in bytes.
func guarded(dial dialFunc, most int) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		g := &guard{Conn: conn, replies: replies{most: most}}
		g.heard.Store(true)
		return lookable(g, conn), nil
	}
}

// guard is a connection that ends at the first reply that is out of bounds.
type guard struct {
	net.Conn
	asked   atomic.Int32 // what the replies must look like
	heard   atomic.Bool  // something was read since the last command; also before the first one
	replies replies
	err     error
}

// Write implements net.Conn. What is written after something was read begins with a command.
func (g *guard) Write(p []byte) (int, error) {
	if g.heard.CompareAndSwap(true, false) && g.asked.Load() != pushes {
		g.asked.Store(answersTo(p))
	}
	return g.Conn.Write(p)
}

// Read implements net.Conn. Every length in what it returns was checked.
func (g *guard) Read(p []byte) (int, error) {
	if g.err != nil {
		return 0, g.err
	}
	n, err := g.Conn.Read(p)
	g.heard.Store(true)
	if g.err = g.replies.check(p[:n], g.asked.Load()); g.err != nil {
		_ = g.Conn.Close()
		return 0, g.err
	}
	return n, err
}

// replies follows what a server sends (RESP, 2 as well as 3, which go-redis speaks with Sentinels), piece by piece.
type replies struct {
	most  int    // bytes of one reply
	spent int    // bytes of this one
	bulk  int    // bytes that are still to come of a string, its line end included
	line  []byte // the beginning of a line that goes on in the next piece
	open  []int  // elements that are still to come, of each array that is not complete
	form  form
}

// check looks through the next piece.
func (r *replies) check(piece []byte, asked int32) error {
	for len(piece) > 0 {
		if r.bulk > 0 {
			n := min(r.bulk, len(piece))
			if formed(asked) {
				r.form.text(piece[:n])
			}
			if r.bulk, piece = r.bulk-n, piece[n:]; r.bulk > 0 {
				return nil
			}
			if err := r.next(asked); err != nil {
				return err
			}
			continue
		}
		n := bytes.IndexByte(piece, '\n') + 1
		if n == 0 {
			n = len(piece)
		}
		line := piece[:n]
		if piece = piece[n:]; len(r.line)+n > replyLine {
			return strange("a line has more than %d bytes", replyLine)
		}
		if complete := line[n-1] == '\n'; !complete || len(r.line) > 0 {
			if r.line = append(r.line, line...); !complete {
				return nil
			}
			line, r.line = r.line, r.line[:0]
		}
		if err := r.value(line, asked); err != nil {
			return err
		}
	}
	return nil
}

// value takes a line: a value, or how long one is.
func (r *replies) value(line []byte, asked int32) error {
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return strange("a line does not end in CR LF")
	}
	most := r.bound(asked)
	if err := r.spend(len(line), most); err != nil {
		return err
	}
	kind, n := line[0], 0
	switch kind {
	case '+', '-', ':', '_', ',', '#', '(':
	case '$', '!', '=', '*', '~', '>', '%':
		var err error
		if n, err = strconv.Atoi(string(line[1 : len(line)-2])); err != nil || n < -1 || n > replyBytes {
			return strange("a length that is none, or too large")
		}
		switch kind {
		case '!', '=':
			kind = '$'
		case '%':
			kind, n = '*', max(2*n, -1)
		case '~', '>':
			kind = '*'
		}
	default:
		return strange("a reply of an unknown kind")
	}
	if formed(asked) {
		r.form.element(kind, n, len(r.open))
	}
	switch {
	case kind == '$' && n > replyBulk:
		return strange("a string of %d bytes; expected at most %d", n, replyBulk)
	case kind == '$' && n >= 0:
		r.bulk = n + len("\r\n")
		return r.spend(r.bulk, most)
	case kind != '*' || n <= 0:
		return r.next(asked)
	case len(r.open) == replyDepth:
		return strange("more than %d arrays within each other", replyDepth)
	case n > most/replyElement:
		return strange("an array of %d elements; expected at most %d", n, most/replyElement)
	}
	r.open = append(r.open, n)
	return r.spend(n*replyElement, most)
}

// bound is how many bytes a reply may have.
func (r *replies) bound(asked int32) int {
	if asked == entries || asked == pushes {
		return r.most
	}
	return min(r.most, answerBytes)
}

func (r *replies) spend(bytes, most int) error {
	if r.spent += bytes; r.spent > most {
		return strange("a reply takes more than %d bytes", most)
	}
	return nil
}

// next takes note that a value is complete, and with it perhaps the arrays around it.
func (r *replies) next(asked int32) error {
	for n := len(r.open); n > 0; n-- {
		if r.open[n-1]--; r.open[n-1] > 0 {
			return nil
		}
		r.open = r.open[:n-1]
	}
	r.spent = 0
	if !formed(asked) {
		return nil
	}
	f := r.form
	r.form = form{}
	return f.check(asked)
}

// lookable makes a connection that stands before a plain one such that go-redis can look into that before it uses it again.
func lookable(conn, plain net.Conn) net.Conn {
	if sys, ok := plain.(syscall.Conn); ok {
		return &lookableConn{conn, sys}
	}
	return conn
}

type lookableConn struct {
	net.Conn
	sys syscall.Conn
}

// SyscallConn implements syscall.Conn.
func (c *lookableConn) SyscallConn() (syscall.RawConn, error) { return c.sys.SyscallConn() }
