package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// nobody is the user that root becomes to be refused something.
const nobody = 65534

func TestCommandsWithoutPermissionSaySo(t *testing.T) {
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
	root := os.Geteuid() == 0
	if root {
		require.NoError(t, os.Chown(mine, nobody, nobody))
	} else {
		require.NoError(t, os.Chmod(db, 0))
	}
	for _, args := range []string{
		"audit", "events list", "events tail", "check", "compact", "backup save copied.db", "backup verify test.db", "backup restore test.db --yes --db other.db",
		"backup restore copy.db --yes", "events discard --state parked --reason x --yes", "schema validate test.db",
	} {
		cmd := exec.Command(program, strings.Fields(args)...)
		cmd.Dir = dir
		cmd.Env = []string{"MATCHRELAY_DB=test.db", "GORACE=atexit_sleep_ms=0"}
		if root {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		out, err := cmd.CombinedOutput()
		var exited *exec.ExitError
		require.ErrorAs(t, err, &exited, "%s: %s", args, out)
		require.Equal(t, exitFailure, exited.ExitCode(), "%s: %s", args, out)
		require.Contains(t, string(out), "permission denied; run as the user who owns it", args)
	}
	// Verifying needs the right to read only, also of the folder.
	require.NoError(t, os.Chmod(mine, 0o444))
	require.NoError(t, os.Chmod(dir, 0o555))
	if root {
		require.NoError(t, os.Chown(mine, 0, 0))
	}
	cmd := exec.Command(program, "backup", "verify", mine)
	cmd.Env = []string{"GORACE=atexit_sleep_ms=0"}
	if root {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
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
	require.Len(t, entries, 3, "nothing was left behind")
}
