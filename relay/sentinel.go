package relay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// SentinelError says that no Sentinel has told where the master is.
type SentinelError struct {
	Master string // its name
	Err    error
}

func (e *SentinelError) Error() string {
	return fmt.Sprintf("ask the Sentinels for the master %s: %v", e.Master, e.Err)
}

func (e *SentinelError) Unwrap() error { return e.Err }

// dialFunc is that of redis.Options.Dialer.
type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// lookup is a redis.Hook that marks the connections of a client to the master that its Sentinels name: go-redis dials both
// with one function. It also marks the errors of the Sentinels.
type lookup struct{ master string }

type lookupKey struct{}

// lookupMark is in the context of a connection to the master. What is asked of the Sentinels on the way has contexts that
// are derived from it.
type lookupMark struct {
	ctx   context.Context
	found bool // the Sentinels have told, the connection is tried
}

// DialHook implements redis.Hook.
func (l lookup) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		mark := &lookupMark{}
		mark.ctx = context.WithValue(ctx, lookupKey{}, mark)
		conn, err := next(mark.ctx, network, addr)
		if err != nil && !mark.found && !errors.Is(err, redis.ErrClosed) {
			err = &SentinelError{Master: l.master, Err: err}
		}
		return conn, err
	}
}

// ProcessHook implements redis.Hook.
func (lookup) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

// ProcessPipelineHook implements redis.Hook.
func (lookup) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// lookupDialer gives each question to a Sentinel a part of the time that a connection to the master may take. Of one that
// hangs go-redis asks half a dozen things, one after the other, before it goes on with what the others say.
func lookupDialer(dialMaster, dialSentinel dialFunc, timeout time.Duration) dialFunc {
	part := timeout / 8
	m := masters{conns: map[net.Conn]struct{}{}}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if mark, ok := ctx.Value(lookupKey{}).(*lookupMark); ok && mark.ctx == ctx {
			mark.found = true
			return m.dial(ctx, dialMaster, network, addr)
		}
		ctx, cancel := context.WithTimeout(ctx, part)
		defer cancel()
		conn, err := dialSentinel(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &question{Conn: conn, limit: part}, nil
	}
}

// masters keeps connections to one master at a time. A connection to an old one may come about when go-redis has already
// closed the others to it; when that one is thawed, it takes itself for the master for some seconds.
type masters struct {
	mu    sync.Mutex
	addr  string                // guarded by mu: of the master, as the Sentinels have said last
	conns map[net.Conn]struct{} // guarded by mu: to it
}

func (m *masters) dial(ctx context.Context, dial dialFunc, network, addr string) (net.Conn, error) {
	for _, conn := range m.moveTo(addr) {
		_ = conn.Close() // whoever uses it is told
	}
	conn, err := dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.addr != addr {
		_ = conn.Close()
		return nil, &DialError{Addr: addr, Err: errors.New("it is no longer the master")}
	}
	m.conns[conn] = struct{}{}
	forget := func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.conns, conn)
	}
	return lookable(&masterConn{conn, forget}, conn), nil
}

// moveTo takes note of where the master is, and returns the connections to another one.
func (m *masters) moveTo(addr string) (former []net.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.addr != addr {
		former = slices.Collect(maps.Keys(m.conns))
		clear(m.conns)
		m.addr = addr
	}
	return former
}

// masterConn is a connection to the master.
type masterConn struct {
	net.Conn
	forget func()
}

// Close implements net.Conn.
func (c *masterConn) Close() error {
	c.forget()
	return c.Conn.Close()
}

// question is a connection to a Sentinel whose answers have a time limit. It is closed when one does not come: go-redis may
// ask several things while it connects. A subscription has none, for news of a failover may be years away; go-redis pings it.
type question struct {
	net.Conn
	limit   time.Duration
	listens atomic.Bool
}

// Write implements net.Conn.
func (q *question) Write(p []byte) (int, error) {
	if answersTo(p) == pushes {
		q.listens.Store(true)
	}
	return q.Conn.Write(p)
}

// Read implements net.Conn.
func (q *question) Read(p []byte) (int, error) {
	n, err := q.Conn.Read(p)
	if err != nil && isTimeout(err) {
		_ = q.Conn.Close()
	}
	return n, err
}

// SetReadDeadline implements net.Conn.
func (q *question) SetReadDeadline(t time.Time) error {
	if latest := time.Now().Add(q.limit); !q.listens.Load() && (t.IsZero() || t.After(latest)) {
		t = latest
	}
	return q.Conn.SetReadDeadline(t)
}

// byTextOfSentinels is what their answers mean, and what an operator can do about it. All need one.
var byTextOfSentinels = []struct{ text, mend string }{
	{redis.Nil.Error(), "correct REDIS_SENTINEL_MASTER: the Sentinels know no master of that name"},
	{"unknown command", "REDIS_URL names no Sentinels: give their addresses, or remove REDIS_SENTINEL_MASTER"},
	{"NOPERM", "let the Sentinels' user run sentinel, subscribe and ping, with all channels"},
	{"called without any password configured", "the Sentinels have no password: take it out of REDIS_URL, and give Redis's as REDIS_PASSWORD"},
	{"NOAUTH", mendSentinelLogin},
	{"WRONGPASS", mendSentinelLogin},
	{"AUTH failed", mendSentinelLogin},
}

const mendSentinelLogin = "correct the Sentinels' login, which is the one in REDIS_URL; Redis's own is in REDIS_USERNAME and REDIS_PASSWORD"

// classifySentinel is classify for what the Sentinels say. When some answer and others do not, the answer decides.
func classifySentinel(err error, e *SentinelError) failure {
	for _, known := range byTextOfSentinels {
		if strings.Contains(e.Err.Error(), known.text) {
			return failure{class: Denied, mend: known.mend, err: err}
		}
	}
	f := classify(e.Err)
	if f.class != Denied {
		f = failure{class: Outage, mend: "check that the Sentinels run, and their addresses in REDIS_URL (without Sentinels, remove REDIS_SENTINEL_MASTER)"}
	}
	f.err = err
	return f
}
