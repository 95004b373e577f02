package control

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/outbox"
)

func TestABackupIsACopyAsOfOneCommitWhileOthersWrite(t *testing.T) {
	g := startFull(t)
	done := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, err := g.box.Add(context.Background(), outbox.Event{Topic: "system_alert", MessageID: "m", Payload: []byte(secret)}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 5 {
		path := filepath.Join(folder(t), "copy.db")
		f, err := os.Create(path)
		require.NoError(t, err)
		n, err := g.client.Backup(t.Context(), f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, info.Size(), n)
		report, err := outbox.VerifyFile(t.Context(), path)
		require.NoError(t, err)
		require.Empty(t, report.Problems)
		require.GreaterOrEqual(t, report.Events, 5)
	}
	close(done)
	writing.Wait()
}

// slow is a client that takes its time for every piece.
type slow struct {
	bytes.Buffer
	pause time.Duration
}

func (s *slow) Write(b []byte) (int, error) {
	time.Sleep(s.pause)
	return s.Buffer.Write(b)
}

// incompressible is a payload of some size.
func incompressible(n int) []byte {
	b := make([]byte, n)
	for i, x := 0, uint32(1); i < n; i++ {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func TestASlowClientGetsTheWholeBackup(t *testing.T) {
	virtually(t, Options{}, standard, func(t *testing.T, v virtual) {
		_, err := v.box.Add(t.Context(), outbox.Event{Topic: "t", MessageID: "1", Payload: incompressible(2 << 20)})
		require.NoError(t, err)
		client := &slow{pause: time.Second} // for at most 32 KiB: longer than the limits, all in all
		began := time.Now()
		n, err := v.client.Backup(t.Context(), struct{ io.Writer }{client})
		require.NoError(t, err)
		require.EqualValues(t, client.Len(), n)
		require.Greater(t, n, int64(2<<20))
		require.Greater(t, time.Since(began), standard.arrive+standard.stall)
	})
}

func TestABackupThatEndsEarlyIsAnError(t *testing.T) {
	box := openBox(t)
	_, err := box.Add(t.Context(), outbox.Event{Topic: "t", MessageID: "1", Payload: incompressible(8 << 20)})
	require.NoError(t, err)
	g := start(t, box, nil, patient)
	var once sync.Once
	_, err = g.client.Backup(t.Context(), writer(func(b []byte) (int, error) {
		once.Do(func() { require.NoError(t, g.stop()) }) // most of it is still to be sent
		return len(b), nil
	}))
	require.ErrorIs(t, err, ErrNotRunning)
	require.Contains(t, err.Error(), "ends early")

	closed := openBox(t)
	g = start(t, closed, nil, patient)
	require.NoError(t, closed.Close())
	_, err = g.client.Backup(t.Context(), io.Discard)
	require.ErrorIs(t, err, outbox.ErrClosed)
}

type writer func(b []byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }
