package integration_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay/control"
)

// TestABackupUnderLoadIsRestoredAndGoesOnUnderANewEpoch takes it through the control socket, while events are appended and
// delivered, and puts it back after more were delivered.
func TestABackupUnderLoadIsRestoredAndGoesOnUnderANewEpoch(t *testing.T) {
	t.Parallel()
	folder := shortFolder(t)
	path, copied := filepath.Join(folder, "test.db"), filepath.Join(folder, "copy.db")
	env := []string{"MATCHRELAY_DB=" + path}
	server := redistest.Start(t, redistest.Options{})
	sub := subscribe(t, server, 0)
	box := openBox(t, path)
	r, stopRelay := startRelay(t, box, server.Addr(), relayOptions())
	stopServing := serveAtOnce(t, control.Options{Outbox: box, Relay: r})
	loading, stopLoad := context.WithCancel(context.Background())
	defer stopLoad()
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for loading.Err() == nil {
				if err := commitStep(box, nil); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	eventually(t, "events are delivered", func() bool { return sub.Count() > 200 })
	require.Contains(t, runOK(t, env, "backup", "save", copied), "saved and verified")
	n := sub.Count()
	eventually(t, "more events are delivered", func() bool { return sub.Count() > n+200 })
	stopLoad()
	load.Wait()
	waitEmpty(t, box)
	stopRelay()
	stopServing()
	full := len(logged(t, box))
	require.NoError(t, box.Close())

	require.Contains(t, runOK(t, env, "backup", "verify", copied), "is sound")
	require.Contains(t, runOK(t, env, "backup", "restore", copied, "--yes"), "restored")
	box = openBox(t, path)
	restored := logged(t, box)
	require.Less(t, len(restored), full)
	require.NoError(t, commitStep(box, nil))
	drain(t, box, server.Addr())
	stats, err := box.Stats(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, stats.Epoch)
	heard := map[string]bool{}
	for _, e := range redistest.Events(sub.Messages(), topicOf, redistest.EnvelopeID) {
		heard[e.MessageID] = true
	}
	for _, e := range logged(t, box) {
		require.True(t, heard[e.MessageID], "every event of the restored file was heard")
	}
	requireSound(t, box)
}

// TestABackupThatIsKilledLeavesADraftThatTheNextOneRemoves kills the program while it verifies the copy.
func TestABackupThatIsKilledLeavesADraftThatTheNextOneRemoves(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path, copied := filepath.Join(folder, "test.db"), filepath.Join(folder, "copies", "copy.db")
	require.NoError(t, os.Mkdir(filepath.Dir(copied), 0o700))
	box := openBox(t, path)
	events := make([]outbox.Event, 20_000)
	for i := range events {
		events[i] = newEvent(updates, strings.Repeat("x", 1000))
	}
	_, err := box.Add(t.Context(), events...)
	require.NoError(t, err)
	require.NoError(t, box.Close())
	env := []string{"MATCHRELAY_DB=" + path}
	var draft string
	eventually(t, "it is killed while there is a draft", func() bool {
		save := program(t, env, "backup", "save", copied, "--force")
		save.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // with the process that verifies
		require.NoError(t, save.Start())
		eventually(t, "there is a draft, or it was faster", func() bool {
			drafts, err := filepath.Glob(copied + ".new-*")
			require.NoError(t, err)
			draft = strings.Join(drafts, "")
			_, err = os.Stat(copied)
			return len(drafts) == 1 || err == nil
		})
		require.NoError(t, syscall.Kill(-save.Process.Pid, syscall.SIGKILL))
		_ = save.Wait()
		_, err := os.Stat(draft)
		return err == nil
	})
	before := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(draft, before, before))
	eventually(t, "the process that verified has ended, too", func() bool {
		runOK(t, env, "backup", "save", copied, "--force")
		_, err := os.Stat(draft)
		return os.IsNotExist(err)
	})
	require.FileExists(t, copied)
}
