package integration_test

import (
	"bufio"
	"encoding/json"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay/control"
)

// TestATailFollowsTheOutboxFromProcessToProcess lets owners come and go under load: the tail lists every event once, in
// order, keeps nobody from the file, and ends on a signal with exit code 0.
func TestATailFollowsTheOutboxFromProcessToProcess(t *testing.T) {
	t.Parallel()
	const owners, each, before = 4, 300, 5
	path := filepath.Join(shortFolder(t), "test.db")
	box := openBox(t, path)
	for range before {
		_, err := box.Add(t.Context(), newEvent(updates, "before"))
		require.NoError(t, err)
	}
	require.NoError(t, box.Close())

	term := openTerminal(t)
	tail := program(t, []string{"MATCHRELAY_DB=" + path}, "events", "tail", "-n", "2", "-o", "jsonl")
	tail.Stderr = term.side
	stdout, err := tail.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, tail.Start())
	ended := false
	t.Cleanup(func() {
		if !ended {
			_ = tail.Process.Kill()
			_ = tail.Wait()
		}
	})
	term.shows("waiting for one")

	lines := bufio.NewScanner(stdout)
	next := func() (info outbox.Info) {
		require.True(t, lines.Scan(), "the tail ended: %s", term.text())
		require.NoError(t, json.Unmarshal(lines.Bytes(), &info))
		return info
	}
	for want := uint64(before - 1); want <= before; want++ {
		require.Equal(t, want, next().Sequence)
	}
	want := uint64(before)
	for owner := range owners {
		box := openBox(t, path)
		stop := serve(t, control.Options{Outbox: box})
		var working sync.WaitGroup
		working.Go(func() {
			for range each {
				if _, err := box.Add(t.Context(), newEvent(updates, "x")); err != nil {
					t.Error(err)
				}
			}
		})
		seen := each
		if owner%2 == 1 { // it goes before the tail has seen all
			seen = each / 2
		}
		for range seen + int(uint64(before+owner*each)-want) {
			want++
			require.Equal(t, want, next().Sequence)
		}
		stop()
		working.Wait()
		require.NoError(t, box.Close())
	}
	// The last owner may have gone too early for the tail: one more comes, appends nothing, and is there for the rest.
	box = openBox(t, path)
	serveAtOnce(t, control.Options{Outbox: box})
	for want < before+owners*each {
		want++
		require.Equal(t, want, next().Sequence)
	}
	require.NoError(t, tail.Process.Signal(syscall.SIGTERM))
	require.False(t, lines.Scan(), "nothing comes twice: %s", lines.Text())
	require.NoError(t, tail.Wait(), term.text())
	ended = true
}
