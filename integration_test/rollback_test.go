package integration_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
)

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, b, 0o600))
}

func addSteps(t *testing.T, box *outbox.Outbox, n int) {
	t.Helper()
	for range n {
		require.NoError(t, commitStep(box, nil))
	}
}

func TestAnOlderCopyOfTheOutboxPutBackIsNoticedAndNothingIsSkippedUnseen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		pending int // steps that wait in the file when it is copied
		after   int // steps appended to the original before the copy is put back
		fresh   int // steps appended to the copy
		epoch   uint64
	}{
		{"everything in the copy was delivered, and the original went on", 0, 20, 30, 2},
		{"the copy is behind and nothing new was appended to it", 0, 20, 0, 2},
		{"events waited when it was copied: Redis has seen them, and more", 10, 20, 30, 2},
		{"events waited when it was copied, and the original ended there: a batch that Redis has seen already", 10, 0, 30, 1},
		{"the copy forks in the middle of a batch", 10, 5, 300, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, redistest.Options{})
			sub := subscribe(t, server, 0)
			db := filepath.Join(t.TempDir(), "outbox.db")
			box := openBox(t, db)
			addSteps(t, box, 10)
			drain(t, box, server.Addr())
			addSteps(t, box, c.pending)
			require.NoError(t, box.Close())
			copyFile(t, db, db+".copy")
			box = openBox(t, db)
			addSteps(t, box, c.after)
			drain(t, box, server.Addr())
			original := committed(t, box)
			require.NoError(t, box.Close())

			require.NoError(t, os.Remove(db))
			copyFile(t, db+".copy", db)
			box = openBox(t, db)
			addSteps(t, box, c.fresh)
			drain(t, box, server.Addr())
			requireSound(t, box)
			stats, err := box.Stats(context.Background())
			require.NoError(t, err)
			require.Equal(t, c.epoch, stats.Epoch)

			// Between the copy and the fork, events may come twice; all others come once, and none is lost.
			mayRepeat := map[string]bool{}
			for _, e := range original[2*10 : 2*(10+c.pending)] {
				mayRepeat[e.MessageID] = c.epoch > 1
			}
			everything := append(original[:len(original):len(original)], committed(t, box)[2*(10+c.pending):]...)
			eventually(t, "all has arrived", func() bool { return len(distinct(history(sub))) == len(everything) })
			eventually(t, "an alert tells of each fresh origin", func() bool { return len(sub.Messages("test:alerts")) == int(c.epoch)-1 })
			require.Empty(t, redistest.Check(everything, history(sub), mayRepeat))
		})
	}
}
