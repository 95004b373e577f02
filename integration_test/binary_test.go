package integration_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	matchrelay "github.com/PitchConnect/matchrelay/integration_test/program"
)

// result is what a run of the program left behind.
type result struct {
	code   int
	stdout string
	stderr string
}

// program is a command of the real binary with an environment of its own.
func program(t testing.TB, env []string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := matchrelay.Path()
	require.NoError(t, err)
	cmd := exec.Command(path, args...)
	cmd.Dir = t.TempDir() // no .env of ours
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + cmd.Dir}, env...)
	return cmd
}

// run runs the program to its end.
func run(t *testing.T, env []string, args ...string) result {
	t.Helper()
	return runInput(t, env, "", args...)
}

func runInput(t *testing.T, env []string, stdin string, args ...string) result {
	t.Helper()
	cmd := program(t, env, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// runOK runs the program and wants success.
func runOK(t *testing.T, env []string, args ...string) string {
	t.Helper()
	r := run(t, env, args...)
	require.Zero(t, r.code, r.stderr)
	return r.stdout
}
