package main

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/stranger"
)

func TestCommandsWithoutPermissionSaySo(t *testing.T) {
	root := os.Geteuid() == 0
	if root {
		stranger.Need(t) // root itself is refused nothing
	}
	dir, err := os.MkdirTemp("", "matchrelay-permission-") // unlike t.TempDir, others are let in
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	db, mine, program := filepath.Join(dir, "test.db"), filepath.Join(dir, "copy.db"), filepath.Join(dir, "matchrelay")
	makeOutbox(t, db)
	makeOutbox(t, mine)
	self, err := os.Executable()
	require.NoError(t, err)
	data, err := os.ReadFile(self)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(program, data, 0o755))
	if root {
		require.NoError(t, os.Chown(mine, stranger.ID, stranger.ID))
	} else {
		require.NoError(t, os.Chmod(db, 0))
	}
	// A list that may be read, and a socket that may not be used.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "list.json"), []byte(`[{"matchid":1}]`), 0o644))
	listener, err := net.Listen("unix", filepath.Join(dir, "held.db.sock"))
	require.NoError(t, err)
	defer listener.Close()
	mode := os.FileMode(0o600)
	if !root {
		mode = 0
	}
	require.NoError(t, os.Chmod(filepath.Join(dir, "held.db.sock"), mode))

	run := func(args string, env ...string) (code int, output string) {
		cmd := exec.Command(program, strings.Fields(args)...)
		cmd.Dir = dir
		cmd.Env = append([]string{"MATCHRELAY_DB=test.db", "REDIS_URL=redis://127.0.0.1:1", "GORACE=atexit_sleep_ms=0"}, env...)
		if root {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger.ID, Gid: stranger.ID}}
		}
		out, err := cmd.CombinedOutput()
		var exited *exec.ExitError
		require.ErrorAs(t, err, &exited, "%s: %s", args, out)
		return exited.ExitCode(), string(out)
	}
	const denied = "permission denied; run as the user who owns it"
	for _, args := range []string{
		"status", "audit", "check", "compact", "events list", "events show 1", "events tail", "events replay --state parked --yes",
		"events discard --state parked --reason x --yes", "matches list", "matches show 1", "matches history 1", "resync --yes",
		"ingest list.json", "relay", "relay --until-empty", "run --source list.json", "run --once --source list.json",
		"backup save copied.db", "backup verify test.db", "backup restore test.db --yes --db other.db", "backup restore copy.db --yes",
		"schema validate test.db",
		// Through the socket.
		"status --db held.db", "events list --db held.db", "ingest list.json --db held.db", "check --db held.db",
		"pause --db held.db", "resume --db held.db", "retry-now --db held.db",
	} {
		code, output := run(args)
		require.Equal(t, exitFailure, code, "%s: %s", args, output)
		require.Contains(t, output, denied, args)
	}
	code, output := run("healthcheck --db held.db")
	require.Equal(t, exitUnreachable, code, output)
	require.Contains(t, output, denied)
	code, output = run("doctor", "REDIS_PUBSUB_ENABLED=false")
	require.Equal(t, exitFailure, code, output)
	require.Contains(t, output, denied)

	// Verifying needs the right to read only, also of the folder.
	require.NoError(t, os.Chmod(mine, 0o444))
	require.NoError(t, os.Chmod(dir, 0o555))
	if root {
		require.NoError(t, os.Chown(mine, 0, 0))
	}
	cmd := exec.Command(program, "backup", "verify", mine)
	cmd.Env = []string{"GORACE=atexit_sleep_ms=0"}
	if root {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger.ID, Gid: stranger.ID}}
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "is sound: 5 events")
	info, err := os.Stat(mine)
	require.NoError(t, err)
	require.EqualValues(t, 0o444, info.Mode().Perm(), "it is left as it is")
	require.NoError(t, os.Chmod(dir, 0o755))

	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 5, "nothing was left behind")
}

func TestCommands_SendNothingToTheSocketOfAnotherUser(t *testing.T) {
	stranger.Need(t)
	dir, err := os.MkdirTemp("", "matchrelay-foreign-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, os.ModeSticky|0o777))
	self, err := os.Executable()
	require.NoError(t, err)
	data, err := os.ReadFile(self)
	require.NoError(t, err)
	program, db := filepath.Join(dir, "stranger"), filepath.Join(dir, "test.db")
	require.NoError(t, os.WriteFile(program, data, 0o755))
	server := exec.Command(program, db+".sock")
	server.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger.ID, Gid: stranger.ID}}
	out, err := server.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	heard := bufio.NewReader(out)
	line, err := heard.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "<nil>\n", line)

	for _, args := range []string{"ingest -", "status", "pause", "healthcheck", "matches list", "relay --until-empty", "backup save " + dir + "/copy.db"} {
		code, _, stderr := call(t, t.Context(), func(a *app) {
			a.environ, a.stdin = []string{"REDIS_URL=redis://127.0.0.1:1"}, strings.NewReader(`[{"matchid":1}]`)
		}, append(strings.Fields(args), "--db", db)...)
		require.Equal(t, exitUnreachable, code, "%s: %s", args, stderr)
		require.Contains(t, stderr, "control socket "+db+".sock: the control socket is another user's", args)
		require.Contains(t, stderr, "nothing was sent", args)
		require.Contains(t, stderr, "MATCHRELAY_SOCKET", args)
	}
	require.NoFileExists(t, db)
	require.NoError(t, server.Process.Kill())
	sent, err := io.ReadAll(heard)
	require.NoError(t, err)
	require.Empty(t, sent)
	require.Error(t, server.Wait())
}
