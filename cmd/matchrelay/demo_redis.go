package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/PitchConnect/matchrelay/relay"
)

// demoRedis is a Redis that the demo stops and starts again, on the same address and with what it had stored.
type demoRedis interface {
	start(ctx context.Context) error
	stop()
	addr() string
	name() string
	stopped() string // how stop ended it
}

// embeddedRedis runs within the program. It is stopped at a moment when nothing is in flight, like a Redis that is
// restarted for an upgrade: it has no run_id by which the relay could notice a sudden death.
type embeddedRedis struct{ server *miniredis.Miniredis }

func newEmbeddedRedis() *embeddedRedis { return &embeddedRedis{miniredis.NewMiniRedis()} }

func (r *embeddedRedis) name() string    { return "an embedded Redis" }
func (r *embeddedRedis) stopped() string { return "Redis is stopped, as for an upgrade" }
func (r *embeddedRedis) addr() string    { return r.server.Addr() }
func (r *embeddedRedis) stop()           { r.server.Close() }

// start uses the same port each time.
func (r *embeddedRedis) start(context.Context) error { return r.server.Start() }

// realRedis is a redis-server process with an append-only file in a folder, ended with SIGKILL.
type realRedis struct {
	binary, folder string
	port           int
	process        *os.Process   // nil while it does not run
	ended          chan struct{} // closed when the process has ended
}

// newRealRedis finds the binary and a free port.
func newRealRedis(binary, folder string) (*realRedis, error) {
	path, err := exec.LookPath(binary)
	if err != nil {
		return nil, exit(exitNotFound, fmt.Errorf("%w; install redis-server, give its path with --redis-server=PATH, or leave the flag out", err))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return &realRedis{binary: path, folder: folder, port: l.Addr().(*net.TCPAddr).Port}, nil
}

func (r *realRedis) name() string    { return r.binary }
func (r *realRedis) stopped() string { return "Redis is killed (SIGKILL)" }
func (r *realRedis) addr() string    { return fmt.Sprintf("127.0.0.1:%d", r.port) }

func (r *realRedis) stop() {
	if r.process != nil {
		_ = r.process.Kill() // fails only when it has ended by itself
		<-r.ended
		r.process = nil
	}
}

// startLimit is how long a server may take to answer, and pingLimit how long for one answer.
const startLimit, pingLimit = 10 * time.Second, time.Second

// start returns when the server answers; if it does not, none is left.
func (r *realRedis) start(ctx context.Context) (err error) {
	cmd := exec.Command(r.binary, "--port", fmt.Sprint(r.port), "--bind", "127.0.0.1", "--dir", r.folder,
		"--save", "", "--appendonly", "yes", "--logfile", "redis.log")
	cmd.SysProcAttr = diesWithProgram()
	started, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // see diesWithProgram
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // a killed process is no news
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", r.binary, err)
	}
	r.process, r.ended = cmd.Process, ended
	defer func() {
		if err != nil {
			r.stop()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{r.addr()}})
	defer client.Close()
	for !answers(ctx, client) {
		select {
		case <-ended:
			return fmt.Errorf("%s ended instead of answering on port %d; see whether it starts by hand", r.binary, r.port)
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return exit(exitUnreachable, fmt.Errorf("%s does not answer on port %d; see whether it starts by hand", r.binary, r.port))
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

func answers(ctx context.Context, client redis.UniversalClient) bool {
	ctx, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	return client.Ping(ctx).Err() == nil
}
