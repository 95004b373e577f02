package integration_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay/control"
)

// daemon is the real program beside a processor in another language. Redis is away all the time.
type daemon struct {
	t   *testing.T
	db  string
	env []string
	// files is how many open files the program is allowed; 0: as many as the test.
	files int
	cmd   *exec.Cmd
	log   *bytes.Buffer
}

func newDaemon(t *testing.T, env ...string) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "mr") // short enough for a socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	d := &daemon{t: t, db: filepath.Join(dir, "test.db"), log: &bytes.Buffer{}}
	d.env = append([]string{"MATCHRELAY_DB=" + d.db, "REDIS_URL=redis://127.0.0.1:1"}, env...)
	t.Cleanup(func() { d.end(syscall.SIGKILL) })
	return d
}

func (d *daemon) socket() string { return d.db + ".sock" }

// start starts the program and waits until its socket answers.
func (d *daemon) start() {
	d.t.Helper()
	d.cmd = program(d.t, d.env, "relay", "--create")
	if d.files > 0 {
		shell, err := exec.LookPath("sh")
		require.NoError(d.t, err)
		d.cmd.Path, d.cmd.Args = shell, append([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, d.files)}, d.cmd.Args...)
	}
	d.cmd.Stderr = d.log
	require.NoError(d.t, d.cmd.Start())
	eventually(d.t, "the socket answers", func() bool {
		c, err := control.Dial(d.socket())
		if err != nil {
			return false
		}
		defer c.Close()
		_, err = c.Status(context.Background())
		return err == nil
	})
}

// end ends the program and waits for it.
func (d *daemon) end(signal syscall.Signal) {
	if d.cmd != nil {
		_ = d.cmd.Process.Signal(signal)
		_ = d.cmd.Wait()
		d.cmd = nil
	}
}

// python runs the example that processors in Python copy.
func (d *daemon) python(stdin string, env []string, args ...string) result {
	d.t.Helper()
	python, err := exec.LookPath("python3")
	require.NoError(d.t, err, "python3 is needed: apt-get install python3")
	script, err := filepath.Abs("../docs/sidecar/post_matches.py")
	require.NoError(d.t, err)
	cmd := exec.Command(python, append([]string{script, "--socket", d.socket(), "--give-up-after", "300"}, args...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		d.t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// payloads stops the program and reads what it has stored.
func (d *daemon) payloads() (list []string) {
	d.t.Helper()
	d.end(syscall.SIGTERM)
	box := openBox(d.t, d.db)
	requireSound(d.t, box)
	infos, err := box.List(d.t.Context(), outbox.Filter{})
	require.NoError(d.t, err)
	for _, info := range infos {
		entry, _, err := box.Get(d.t.Context(), info.Sequence)
		require.NoError(d.t, err)
		list = append(list, string(entry.Payload))
	}
	return list
}
