package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/integration_test/disktest"
	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// The test binary runs itself again as a worker: a processor with a relay in it, under constant load, that dies where it
// is told to.
const (
	workerEnv    = "MATCHRELAY_TEST_WORKER"
	workerDB     = "MATCHRELAY_TEST_DB"
	workerRedis  = "MATCHRELAY_TEST_REDIS"
	workerPID    = "MATCHRELAY_TEST_REDIS_PID" // the redis-server to kill
	workerSteps  = "MATCHRELAY_TEST_STEPS"
	exitFinished = 0
	exitFailed   = 3 // the outbox turned failed
)

// Where a worker dies.
const (
	dieNever        = "never"
	dieBeforeCommit = "before the transaction commits"
	dieAfterCommit  = "after commit, before publish"
	dieBeforeReply  = "after Redis ran the script, before the reply"
	dieBeforeSettle = "after the reply, before the cursor is stored"
	redisDiesBefore = "Redis dies before running the script"
	redisDiesAfter  = "Redis dies after running the script"
	failpointAt     = 15 // the step, or call, at which it happens
)

func suicide() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // it is only a matter of time
}

// work is the worker's main function.
func work() int {
	point := os.Getenv(workerEnv)
	box, err := outbox.Open(os.Getenv(workerDB), outbox.Options{LockTimeout: redistest.Patience})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{os.Getenv(workerRedis)}})
	client.AddHook(&failpoint{point: point})
	opts := relayOptions()
	var calls atomic.Int32
	opts.Observe = func(topic string, _ []outbox.Entry) {
		if calls.Add(1) > failpointAt && point == dieBeforeSettle && topic == updates {
			suicide()
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- relay.New(box, relay.NewRedis(client, time.Second), opts).Run(ctx) }()
	steps, _ := strconv.Atoi(os.Getenv(workerSteps))
	for step := 1; step <= steps; step++ {
		err := commitStep(box, func(tx *bolt.Tx) {
			switch {
			case step < failpointAt:
			case point == dieBeforeCommit:
				suicide()
			case point == dieAfterCommit:
				tx.OnCommit(suicide)
			}
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return exitFailed
		}
		if step == 1 {
			fmt.Println("working")
		}
		time.Sleep(time.Millisecond) // the pace of the load
	}
	cancel()
	<-done
	return exitFinished
}

// failpoint is a hook around every round trip to Redis.
type failpoint struct {
	point string
	calls atomic.Int32
}

func (f *failpoint) DialHook(next redis.DialHook) redis.DialHook { return next }

func (f *failpoint) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (f *failpoint) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		due := f.calls.Add(1) == failpointAt
		if due && f.point == redisDiesBefore {
			killRedis()
		}
		err := next(ctx, cmds)
		if due && err == nil && f.point == dieBeforeReply {
			suicide()
		}
		if due && f.point == redisDiesAfter {
			killRedis()
		}
		return err
	}
}

func killRedis() {
	pid, _ := strconv.Atoi(os.Getenv(workerPID))
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

// worker is a running copy of the test binary.
type worker struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout io.Reader
}

// startWorker runs a worker, under strace if options of that are given.
func startWorker(t *testing.T, point, db, addr string, redisPID, steps int, strace ...string) *worker {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	if len(strace) > 0 {
		require.NoError(t, disktest.Strace(cmd, strace...))
	}
	cmd.Env = append(os.Environ(), workerEnv+"="+point, workerDB+"="+db, workerRedis+"="+addr,
		"GORACE=atexit_sleep_ms=0", workerPID+"="+strconv.Itoa(redisPID), workerSteps+"="+strconv.Itoa(steps))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	w := &worker{t, cmd, stdout}
	t.Cleanup(func() {
		w.kill()
		if t.Failed() && stderr.Len() > 0 {
			t.Log("worker: " + stderr.String())
		}
	})
	return w
}

// waitWorking waits until the worker has committed its first step.
func (w *worker) waitWorking() {
	w.t.Helper()
	line := make([]byte, len("working"))
	_, err := io.ReadFull(w.stdout, line)
	require.NoError(w.t, err)
}

// kill ends the worker with SIGKILL, if it still runs.
func (w *worker) kill() {
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
}

// waitKilled waits until the worker has died by its own hand.
func (w *worker) waitKilled() {
	w.t.Helper()
	err := w.cmd.Wait()
	var exit *exec.ExitError
	require.ErrorAs(w.t, err, &exit)
	require.Equal(w.t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal(), "the worker dies at its failpoint")
}

func (w *worker) waitFinished() {
	w.t.Helper()
	require.NoError(w.t, w.cmd.Wait())
}
