package redistest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Patience is how long every wait of this package lasts before it fails the test.
const Patience = 2 * time.Minute

// Persistence says what a server writes to its data folder.
type Persistence string

// The kinds of persistence. RDB saves only on SAVE, BGSAVE and a clean end.
const (
	None Persistence = `save ""` + "\nappendonly no"
	AOF  Persistence = `save ""` + "\nappendonly yes\nappendfsync always"
	RDB  Persistence = "save 86400 1\nappendonly no"
)

// Options of a server. The zero value persists nothing.
type Options struct {
	Persistence Persistence
	Config      []string // more lines of redis.conf
	ReplicaOf   *Server  // if set: its master, which may be down; see WaitInSync
	TLS         *TLS     // if set: a TLS port beside the plain one
}

// Server is one redis-server process on a port of its own. The port and the
// data folder stay the same for its whole life, over any number of Kill and Start.
type Server struct {
	t       testing.TB
	dir     string
	port    int
	process *exec.Cmd
	exited  chan struct{} // closed when process has been waited for
	args    []string      // more of them
	up      atomic.Bool   // started, and neither dead nor frozen; any goroutine may read it
}

// New prepares a server without starting it: its port refuses connections.
func New(t testing.TB, opts Options) *Server {
	t.Helper()
	return newServer(t, freePort(t), opts.lines())
}

// lines are those of redis.conf.
func (o Options) lines() []string {
	if o.Persistence == "" {
		o.Persistence = None
	}
	lines := []string{"daemonize no", string(o.Persistence), "repl-diskless-sync-delay 0"} // it is 5 seconds
	if o.ReplicaOf != nil {
		lines = append(lines, fmt.Sprint("replicaof 127.0.0.1 ", o.ReplicaOf.port))
	}
	if o.TLS != nil {
		lines = append(lines, o.TLS.lines()...)
	}
	return append(lines, o.Config...)
}

func newServer(t testing.TB, port int, config []string, args ...string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("this test needs redis-server: apt-get install redis-server")
	}
	s := &Server{t: t, dir: t.TempDir(), port: port, args: args}
	lines := append([]string{"bind 127.0.0.1", fmt.Sprint("port ", s.port), "dir " + s.dir}, config...)
	if err := os.WriteFile(s.configPath(), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

// Start prepares a server and starts it.
func Start(t testing.TB, opts Options) *Server {
	t.Helper()
	s := New(t, opts)
	s.Start()
	return s
}

// Start runs the server and returns when it answers, its data loaded.
func (s *Server) Start() {
	s.t.Helper()
	if s.process != nil {
		s.t.Fatal("redis-server is running already: Kill it first")
	}
	log, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.process = exec.Command("redis-server", append([]string{s.configPath()}, s.args...)...)
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.exited = make(chan struct{})
	go func(p *exec.Cmd, exited chan struct{}) {
		defer close(exited)
		_ = p.Wait() // a killed process is no news
	}(s.process, s.exited)
	s.waitUntilReady()
	s.up.Store(true)
}

func (s *Server) waitUntilReady() {
	s.t.Helper()
	deadline := time.After(Patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !s.answers() {
		select {
		case <-s.exited:
			s.t.Fatalf("redis-server ended instead of starting; its log:\n%s", s.Log())
		case <-deadline:
			s.t.Fatalf("redis-server does not answer; its log:\n%s", s.Log())
		case <-tick.C:
		}
	}
}

func (s *Server) answers() bool {
	reply, err := command(s.Addr(), Patience, "PING")
	var refused replyError
	return reply == status("PONG") || errors.As(err, &refused) && strings.HasPrefix(refused.Error(), "NOAUTH")
}

// Kill ends the server with SIGKILL, frozen or not. Nothing happens if it does
// not run.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Shutdown ends the server with SIGTERM: it saves what its persistence says.
func (s *Server) Shutdown() { s.end(syscall.SIGTERM) }

// Freeze stops the server with SIGSTOP: connections stay open and get no answer.
func (s *Server) Freeze() {
	s.t.Helper()
	s.up.Store(false)
	s.signal(syscall.SIGSTOP)
}

// Thaw lets a frozen server go on.
func (s *Server) Thaw() {
	s.t.Helper()
	s.signal(syscall.SIGCONT)
	s.up.Store(true)
}

// PID is the process of the running server.
func (s *Server) PID() int { return s.process.Process.Pid }

// WaitDead waits until somebody else has killed the server.
func (s *Server) WaitDead() {
	s.t.Helper()
	select {
	case <-s.exited:
		s.process = nil
		s.up.Store(false)
	case <-time.After(Patience):
		s.t.Fatal("redis-server does not die")
	}
}

func (s *Server) end(sig syscall.Signal) {
	s.t.Helper()
	if s.process == nil {
		return
	}
	s.up.Store(false)
	s.signal(sig)
	select {
	case <-s.exited:
		s.process = nil
	case <-time.After(Patience):
		s.t.Fatalf("redis-server does not end on %v", sig)
	}
}

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if s.process == nil {
		s.t.Fatalf("redis-server does not run: no %v for it", sig)
	}
	if err := s.process.Process.Signal(sig); err != nil && err != os.ErrProcessDone {
		s.t.Fatal(err)
	}
}

// Addr is host:port.
func (s *Server) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// URL is what REDIS_URL takes.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Dir is the data folder.
func (s *Server) Dir() string { return s.dir }

// Client makes a client that sends each command once, closed with the test: keep it where it is needed often.
func (s *Server) Client() *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, DialerRetries: 1, ReadTimeout: Patience, ContextTimeoutEnabled: true})
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// Log is what the server has printed so far.
func (s *Server) Log() string {
	b, err := os.ReadFile(s.logPath())
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (s *Server) configPath() string { return filepath.Join(s.dir, "redis.conf") }
func (s *Server) logPath() string    { return filepath.Join(s.dir, "redis.log") }
