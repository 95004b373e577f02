package integration_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/stranger"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay/control"
)

func TestAProcessorThatServesTheSocketIsReachedByItsOwnUserOnly(t *testing.T) {
	if os.Geteuid() == 0 {
		stranger.Need(t) // root itself is refused nothing
	}
	t.Parallel()
	folder, err := os.MkdirTemp("", "mr") // its path is short enough for a socket
	require.NoError(t, err)
	defer os.RemoveAll(folder)
	require.NoError(t, os.Chmod(folder, 0o755))
	box := openBox(t, filepath.Join(folder, "test.db"))
	ctx, cancel := context.WithCancel(context.Background())
	var served sync.WaitGroup
	served.Go(func() { _ = control.Serve(ctx, control.Options{Outbox: box}) })
	defer served.Wait()
	defer cancel()
	socket := box.Path() + ".sock"
	eventually(t, "the socket is there", func() bool {
		c, err := control.Dial(socket)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	env := []string{"MATCHRELAY_DB=" + box.Path()}
	require.Contains(t, runOK(t, env, "status"), "test.db, 0 events")
	r := run(t, env, "pause")
	require.Equal(t, 4, r.code)
	require.Contains(t, r.stderr, "the process has no relay")

	if os.Geteuid() != 0 {
		require.NoError(t, os.Chmod(socket, 0)) // as if it were another's
	}
	for _, args := range [][]string{{"status"}, {"healthcheck"}, {"events", "list"}, {"events", "tail"}, {"events", "replay", "--seq", "1", "--yes"}, {"pause"}} {
		cmd := program(t, env, args...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if os.Geteuid() == 0 {
			cmd.Dir = "/"
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger.ID, Gid: stranger.ID}}
		}
		require.Error(t, cmd.Run())
		code := 1
		if args[0] == "healthcheck" {
			code = 4 // 1 would have the process restarted
		}
		require.Equal(t, code, cmd.ProcessState.ExitCode(), stderr.String())
		require.Empty(t, stdout.String())
		require.Contains(t, stderr.String(), "permission denied; run as the user who owns it")
	}
}

// TestCommandsWorkWhileTheFileChangesHands lets a processor come and go while a command asks again and again.
func TestCommandsWorkWhileTheFileChangesHands(t *testing.T) {
	t.Parallel()
	folder, err := os.MkdirTemp("", "mr")
	require.NoError(t, err)
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "test.db")
	require.NoError(t, openBox(t, path).Close())
	ctx, cancel := context.WithCancel(context.Background())
	var turns sync.WaitGroup
	turns.Go(func() {
		for ctx.Err() == nil {
			box, err := outbox.Open(path, outbox.Options{LockTimeout: time.Minute})
			if err != nil {
				t.Error(err)
				return
			}
			serving, stop := context.WithTimeout(ctx, 50*time.Millisecond)
			if err := control.Serve(serving, control.Options{Outbox: box}); err != nil {
				t.Error(err)
			}
			stop()
			if err := box.Close(); err != nil {
				t.Error(err)
			}
			<-time.After(20 * time.Millisecond)
		}
	})
	for range 30 {
		r := run(t, []string{"MATCHRELAY_DB=" + path}, "status", "-o", "jsonl")
		require.Zero(t, r.code, r.stderr)
	}
	cancel()
	turns.Wait()
}
