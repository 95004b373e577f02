package integration_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

// smallDisk is a file system of so many MiB, gone with the test.
func smallDisk(t *testing.T, mib string) string {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+mib+"m", "tmpfs", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("this test mounts a small tmpfs: run it as root, or in a namespace of its own (unshare --map-root-user --mount): %s", out)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill writes a file until the disk is full, and returns its path.
func fill(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	require.NoError(t, err)
	for size := 64 << 10; size > 0; size /= 2 {
		for {
			if _, err := f.Write(make([]byte, size)); err != nil {
				require.ErrorIs(t, err, syscall.ENOSPC)
				break
			}
		}
	}
	require.NoError(t, f.Close())
	return path
}

func TestAFullDiskRefusesNewEventsWholeWhileOldOnesAreDelivered(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	sub := subscribe(t, server, 0)
	disk := smallDisk(t, "4")
	db := filepath.Join(disk, "outbox.db")
	for range rounds {
		box := openBox(t, db)
		addSteps(t, box, 50)
		before := committed(t, box)
		ballast := fill(t, disk)
		var err error
		for err == nil { // until the free pages of the file are used up
			if err = commitStep(box, nil); err == nil {
				before = committed(t, box)
			}
		}
		require.ErrorIs(t, err, outbox.ErrDiskFull)
		require.Equal(t, before, committed(t, box), "neither state nor events")
		require.Equal(t, before, logged(t, box))

		_, stop := startRelay(t, box, server.Addr(), relayOptions())
		eventually(t, "what was committed is delivered all the same", func() bool { return len(history(sub)) == len(before) })
		require.NoError(t, os.Remove(ballast))
		addSteps(t, box, 10)
		waitEmpty(t, box)
		stop()
		require.NoError(t, box.Close())
		requireAgreement(t, db, server, sub, nil)
	}
}

func TestIngestOnAFullDiskSaysSoAndChangesNothing(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "2")
	env := []string{"MATCHRELAY_DB=" + filepath.Join(disk, "outbox.db")}
	feed := fogistest.New(1, 30, time.Now())
	require.Zero(t, runInput(t, env, string(feed.JSON()), "ingest", "-").code)
	ballast := fill(t, disk)
	var refused result
	for refused.code == 0 {
		feed.Apply(fogistest.NewReferee)
		refused = runInput(t, env, string(feed.JSON()), "ingest", "-")
	}
	require.Equal(t, 1, refused.code, refused.stderr)
	require.Contains(t, refused.stderr, "no space left")
	require.NoError(t, os.Remove(ballast))
	retried := runInput(t, env, string(feed.JSON()), "ingest", "-", "-o", "json")
	require.Zero(t, retried.code, retried.stderr)
	var summary struct{ Updated int }
	require.NoError(t, json.Unmarshal([]byte(retried.stdout), &summary))
	require.Equal(t, 1, summary.Updated, "the change that was refused is found again")
}

func TestAFailedSyncTurnsTheOutboxFailedAndTheFileTellsTheTruth(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	sub := subscribe(t, server, 0)
	db := filepath.Join(t.TempDir(), "outbox.db")
	known := 0
	for _, when := range []string{"11", "12", "15", "20"} { // odd and even: the sync of the data, and that of the meta page
		w := startWorker(t, dieNever, db, server.Addr(), 0, 1_000_000,
			"-o", os.DevNull, "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when="+when)
		err := w.cmd.Wait()
		var exit *exec.ExitError
		require.True(t, errors.As(err, &exit), "the worker ends by itself")
		require.Equal(t, exitFailed, exit.ExitCode(), "because its outbox has failed")
		state := requireAgreement(t, db, server, sub, nil)
		require.Greater(t, len(state), known)
		known = len(state)
	}
}
