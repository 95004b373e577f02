package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
)

// process is the real program, in a folder of its own that it has for temporary files, too. Its file 3 is a pipe that its
// children inherit.
type process struct {
	*exec.Cmd
	dir    string
	lines  *bufio.Reader // of the pipe; it ends with the last process that has it
	stderr bytes.Buffer
}

// takeHangups lets processes that are started from now on take SIGHUP as usual, also when the tests run under nohup: what a
// process ignores its children ignore, too, but not what it handles, be it by doing nothing.
var takeHangups = sync.OnceFunc(func() {
	if signal.Ignored(syscall.SIGHUP) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
})

// startProcess starts a command line of the shell, so that it may say how signals are taken.
func startProcess(t *testing.T, line string) *process {
	t.Helper()
	takeHangups()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	require.NoError(t, r.SetReadDeadline(time.Now().Add(redistest.Patience)))
	p := &process{Cmd: exec.Command("sh", "-c", line), dir: t.TempDir(), lines: bufio.NewReader(r)}
	p.Dir, p.ExtraFiles, p.Stderr = p.dir, []*os.File{w}, &p.stderr
	p.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + p.dir, "GORACE=atexit_sleep_ms=0"}
	require.NoError(t, p.Start())
	require.NoError(t, w.Close())
	t.Cleanup(func() { _ = p.Process.Kill() })
	return p
}

// says waits for a line with a text.
func (p *process) says(t *testing.T, text string) {
	t.Helper()
	for {
		line, err := p.lines.ReadString('\n')
		require.NoError(t, err, "it never says %q", text)
		if strings.Contains(line, text) {
			return
		}
	}
}

// exits waits until the program and all its children have ended.
func (p *process) exits(t *testing.T) int {
	t.Helper()
	_, err := io.Copy(io.Discard, p.lines)
	require.NoError(t, err, "a child outlives the program")
	_ = p.Wait() // the exit code says it
	return p.ProcessState.ExitCode()
}

// announced is a redis-server that says so on file 3 when it is started.
func announced(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "announced")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\necho started >&3\nexec redis-server \"$@\"\n"), 0o700))
	return path
}

func TestARedisServerDoesNotOutliveTheProgram(t *testing.T) {
	for _, command := range []string{"demo", "bench --only deliver --dir ."} {
		for _, signal := range []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM, syscall.SIGKILL} {
			t.Run(fmt.Sprint(command, ", ", signal), func(t *testing.T) {
				t.Parallel()
				p := startProcess(t, "exec matchrelay "+command+" --redis-server="+announced(t))
				p.says(t, "started")
				require.NoError(t, p.Process.Signal(signal))
				code := p.exits(t)
				if signal == syscall.SIGKILL {
					return // its folder stays
				}
				require.Equal(t, exitFailure, code, p.stderr.String())
				require.Contains(t, p.stderr.String(), "it was interrupted")
				left, err := os.ReadDir(p.dir)
				require.NoError(t, err)
				require.Empty(t, left)
			})
		}
	}
}

func TestATerminalThatGoesAwayEndsTheProgram(t *testing.T) {
	t.Parallel()
	p := startProcess(t, "exec matchrelay run --dev >&3")
	p.says(t, "cycle 1 completed")
	require.NoError(t, p.Process.Signal(syscall.SIGHUP))
	require.NoError(t, p.Process.Signal(syscall.SIGHUP), "the shell passes it on, too")
	require.Equal(t, exitOK, p.exits(t), p.stderr.String())
	require.Contains(t, p.stderr.String(), "matchrelay has ended")
}

func TestATerminalThatGoesAwayDoesNotEndTheProgramUnderNohup(t *testing.T) {
	t.Parallel()
	p := startProcess(t, "trap '' HUP; exec matchrelay run --dev >&3") // as nohup does
	p.says(t, "cycle 1 completed")
	require.NoError(t, p.Process.Signal(syscall.SIGHUP))
	p.says(t, "cycle 2 completed")
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	require.Equal(t, exitOK, p.exits(t), p.stderr.String())
}

func TestARedisServerThatDoesNotAnswerIsNotLeftRunning(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "pid")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	said, err := os.OpenFile(fifo, os.O_RDWR, 0)
	require.NoError(t, err)
	defer said.Close()
	silent := filepath.Join(dir, "silent")
	require.NoError(t, os.WriteFile(silent, []byte("#!/bin/sh\necho $$ >"+fifo+"\nexec sleep 1000\n"), 0o700))

	ctx, cancel := context.WithCancel(t.Context())
	server, err := newRealRedis(silent, dir)
	require.NoError(t, err)
	failed := make(chan error, 1)
	go func() { failed <- server.start(ctx) }()
	line, err := bufio.NewReader(said).ReadString('\n')
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err)
	cancel()
	require.ErrorIs(t, <-failed, context.Canceled)
	require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, "it runs no more")
}
