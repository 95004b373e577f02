package redistest

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/rs/zerolog"
	"github.com/rs/zerolog/log"
	"go.uber.org/goleak"
)

// Proxy stands between a client and a server and does to their connections what
// networks do. What it does holds for the present connections and for new ones,
// until Heal. Several things may be done at once, each of them once.
//
// It accepts the connections itself, since toxiproxy resets those only that
// come after the toxic, and at their next byte. The toxics are toxiproxy's; one
// of its weaknesses is that adding and healing wait for a connection whose
// receiver does not read.
type Proxy struct {
	t        testing.TB
	listener net.Listener
	server   *toxiproxy.ApiServer
	proxy    *toxiproxy.Proxy // never started: its toxics are all that is used
	ended    chan struct{}

	mu       sync.Mutex
	conns    []*net.TCPConn // both ends of all connections so far; guarded by mu, like what follows
	links    []*source      // of toxiproxy, two for each connection
	upstream string
	resets   bool // resets what comes
	refused  int  // connections, ever
	severs   bool // has been told to do what ends connections
	stopped  bool
}

// The bandwidth toxic writes to the log of all programs.
func init() { log.Logger = zerolog.Nop() }

// Leaks is what a TestMain whose tests use proxies passes to goleak, with
// options of its own: it excuses the goroutines that toxiproxy leaves behind
// when a connection breaks while a toxic is removed, and that with which go-redis
// notices a second late that a client is closed which could not connect.
func Leaks(more ...goleak.Option) []goleak.Option {
	for _, function := range []string{".(*ToxicLink).read", ".(*ToxicLink).write", "/toxics.(*ToxicStub).Run"} {
		more = append(more, goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2"+function))
	}
	return append(more, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// NewProxy forwards a port of its own to a server, which may be down: then each
// connection is closed as soon as it is accepted.
func NewProxy(t testing.TB, upstream string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := &Proxy{t: t, upstream: upstream, listener: listener, server: server, ended: make(chan struct{}),
		proxy: toxiproxy.NewProxy(server, "redis", listener.Addr().String(), upstream)}
	go p.accept()
	t.Cleanup(p.stop)
	return p
}

// Redirect forwards new connections to another server, as when a name is given
// to another machine. The present connections stay.
func (p *Proxy) Redirect(upstream string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.upstream = upstream
}

// Addr is host:port of the proxy.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

func (p *Proxy) accept() {
	defer close(p.ended)
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		addr := p.upstream
		p.mu.Unlock()
		upstream, err := net.Dial("tcp", addr)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.join(client.(*net.TCPConn), upstream.(*net.TCPConn))
	}
}

func (p *Proxy) join(client, upstream *net.TCPConn) {
	name := client.RemoteAddr().String()
	up, down := &source{Reader: client, link: name + "upstream"}, &source{Reader: upstream, link: name + "downstream"}
	p.mu.Lock()
	refuse := p.stopped || p.resets
	if !refuse {
		p.conns, p.links = append(p.conns, client, upstream), append(p.links, up, down)
	}
	if refuse {
		p.refused++
	}
	p.mu.Unlock()
	if refuse {
		reset(client, upstream)
		return
	}
	// Not under mu: while a toxic is added that waits for a receiver, this waits,
	// too, and only stop or Reset ends that.
	p.proxy.Toxics.StartLink(p.server, up.link, up, &drain{conn: upstream, source: client}, stream.Upstream)
	p.proxy.Toxics.StartLink(p.server, down.link, down, &drain{conn: client, source: upstream}, stream.Downstream)
}

// source is the beginning of a link, which notes when there is no more to come.
type source struct {
	io.Reader
	link  string
	ended atomic.Bool
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil {
		s.ended.Store(true)
	}
	return n, err
}

// drain is the end of a link. When its connection is broken, it swallows what is
// still under way: toxiproxy would stop to take it, and whoever is about to
// interrupt a toxic that is not rid of its data would wait for ever.
type drain struct {
	conn   *net.TCPConn
	source *net.TCPConn // closed then, so that there is an end to it
	broken bool
}

func (d *drain) Write(p []byte) (int, error) {
	if !d.broken {
		if n, err := d.conn.Write(p); err == nil {
			return n, nil
		}
		d.broken = true
		_ = d.source.Close()
	}
	return len(p), nil
}

func (d *drain) Close() error { return d.conn.Close() }

func (p *Proxy) stop() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.stopped = true
	for _, conn := range p.conns {
		_ = conn.Close() // most of them are closed already
	}
	p.mu.Unlock()
	<-p.ended
}

// reset closes connections with a RST: whatever is under way in them is lost.
func reset(conns ...*net.TCPConn) {
	for _, conn := range conns {
		_ = conn.SetLinger(0) // fails on a closed connection
		_ = conn.Close()
	}
}

// CutReplies closes each connection at the next reply, which the client never sees although the server has run the command.
func (p *Proxy) CutReplies() {
	p.t.Helper()
	p.sever()
	p.add("limit_data", stream.Downstream, map[string]int64{"bytes": 0})
}

// Latency delays every reply by d, more or less by jitter. Calling it again changes that.
func (p *Proxy) Latency(d, jitter time.Duration) {
	p.t.Helper()
	p.add("latency", stream.Downstream, map[string]int64{"latency": d.Milliseconds(), "jitter": jitter.Milliseconds()})
}

// Throttle passes replies on no faster than that, in steps of 1000 bytes a second. Calling it again changes that.
func (p *Proxy) Throttle(bytesPerSecond int) {
	p.t.Helper()
	p.throttle(stream.Downstream, bytesPerSecond)
}

// ThrottleCommands is Throttle for what the client sends.
func (p *Proxy) ThrottleCommands(bytesPerSecond int) {
	p.t.Helper()
	p.throttle(stream.Upstream, bytesPerSecond)
}

func (p *Proxy) throttle(direction stream.Direction, bytesPerSecond int) {
	p.t.Helper()
	if bytesPerSecond < 1000 {
		p.t.Fatalf("throttle to %d bytes a second: expected at least 1000", bytesPerSecond)
	}
	p.add("bandwidth", direction, map[string]int64{"rate": int64(bytesPerSecond / 1000)})
}

// HalfOpen swallows what either side sends, without closing anything: as when a
// firewall forgets a connection. Healing it closes the connections, since they
// have holes.
func (p *Proxy) HalfOpen() {
	p.t.Helper()
	p.sever()
	p.add("timeout", stream.Upstream, map[string]int64{"timeout": 0})
	p.add("timeout", stream.Downstream, map[string]int64{"timeout": 0})
}

// SlowClose lets the client know only after d that the server has closed its connection.
func (p *Proxy) SlowClose(d time.Duration) {
	p.t.Helper()
	p.sever()
	p.add("slow_close", stream.Downstream, map[string]int64{"delay": d.Milliseconds()})
}

// Reset resets all connections at once, on both sides, and new ones when they
// are accepted.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resets = true
	reset(p.conns...)
	p.conns = nil
}

// Refused is how many connections it has reset as soon as they were made.
func (p *Proxy) Refused() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused
}

// Heal lets everything through again. After CutReplies, HalfOpen and SlowClose
// it closes all connections.
func (p *Proxy) Heal() {
	p.proxy.Toxics.ResetToxics(context.Background())
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.severs {
		for _, conn := range p.conns {
			_ = conn.Close() // most of them are closed already
		}
		p.conns = nil
	}
	// A toxic that is removed from a link that ends stays in it, and the next one
	// that is added makes toxiproxy panic.
	living := p.links[:0]
	for _, s := range p.links {
		if p.severs || s.ended.Load() {
			p.proxy.Toxics.RemoveLink(s.link)
		} else {
			living = append(living, s)
		}
	}
	p.links, p.resets, p.severs = living, false, false
}

func (p *Proxy) sever() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.severs = true
}

// add adds a toxic, or changes the one that is there.
func (p *Proxy) add(kind string, direction stream.Direction, attributes map[string]int64) {
	p.t.Helper()
	name := kind + " " + direction.String()
	toxic, err := json.Marshal(map[string]any{"name": name, "type": kind, "stream": direction.String(), "attributes": attributes})
	if err != nil {
		p.t.Fatal(err)
	}
	if p.proxy.Toxics.GetToxic(name) != nil {
		_, err = p.proxy.Toxics.UpdateToxicJson(name, strings.NewReader(string(toxic)))
	} else {
		_, err = p.proxy.Toxics.AddToxicJson(strings.NewReader(string(toxic)))
	}
	if err != nil {
		p.t.Fatalf("%s: %v", name, err)
	}
}
