package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCommandsThatOnlyReadNeedNoRightToWrite(t *testing.T) {
	const inNamespace = "MATCHRELAY_TEST_IN_NAMESPACE"
	dir := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	err = syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64m")
	if errors.Is(err, syscall.EPERM) && os.Getenv(inNamespace) == "" {
		cmd := exec.Command("unshare", "-rm", self, "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), inNamespace+"=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "this test mounts a tmpfs: run it as root, or where `unshare -rm` works\n%s", out)
		return
	}
	require.NoError(t, err, "mount a tmpfs")
	defer func() { require.NoError(t, syscall.Unmount(dir, 0)) }()
	db, list := filepath.Join(dir, "test.db"), filepath.Join(t.TempDir(), "list.json")
	require.NoError(t, os.WriteFile(list, []byte(`[{"matchid":1}]`), 0o600))

	run := func(args string) (string, error) {
		cmd := exec.Command(self, strings.Fields(args)...)
		cmd.Args[0] = "matchrelay"
		cmd.Env = []string{"MATCHRELAY_DB=" + db, "REDIS_URL=redis://127.0.0.1:1", "GORACE=atexit_sleep_ms=0"}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run("ingest " + list)
	require.NoError(t, err, out)
	require.NoError(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	for _, args := range []string{
		"status", "audit", "check", "events list", "events show 1", "matches list", "matches show 1", "matches history 1",
		"backup verify " + db, "backup save " + filepath.Join(t.TempDir(), "copy.db"),
	} {
		out, err := run(args)
		require.NoError(t, err, "%s: %s", args, out)
	}
	for _, args := range []string{
		"ingest " + list, "relay --until-empty", "compact", "resync --yes", "events discard --state parked --reason x --yes",
		"backup save " + filepath.Join(dir, "copy.db"),
	} {
		out, err := run(args)
		require.Error(t, err, args)
		require.Contains(t, out, "the file system of "+dir+", tmpfs: it is mounted read-only", args)
	}
}
