package control

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// newFilePath is that of an outbox file with one event of news.
func newFilePath(t *testing.T) string {
	path := filepath.Join(folder(t), "test.db")
	box, err := outbox.Open(path, outbox.Options{})
	require.NoError(t, err)
	addNews(t, box, "first")
	require.NoError(t, box.Close())
	return path
}

// drain runs Drain until the returned function is called, which may be done twice.
func (d deliverer) drain(path string) (stop func() error) { return d.drainLogging(path, io.Discard) }

func (d deliverer) drainLogging(path string, log io.Writer) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- Drain(ctx, DrainOptions{Path: path, Relay: func(source relay.Source) (*relay.Relay, func()) {
			client := relay.NewClient(relay.ClientOptions{Addrs: []string{d.server.Addr()}})
			return relay.New(source, relay.NewRedis(client, time.Hour), relay.Options{Channels: map[string]string{"news": "test:news"},
				RetryDelay: 20 * time.Millisecond, RetryMaxDelay: 100 * time.Millisecond}), func() { _ = client.Close() }
		}, Logger: slog.New(slog.NewTextHandler(log, nil))})
	}()
	stop = func() error {
		cancel()
		err := within(d.t, ended)
		ended <- err
		return err
	}
	d.t.Cleanup(func() { _ = stop() })
	return stop
}

// lines are those of a log.
type lines chan string

func (l lines) Write(line []byte) (int, error) {
	select {
	case l <- string(line):
	default: // no one reads any more
	}
	return len(line), nil
}

// wait waits for a line that contains a text.
func (l lines) wait(t *testing.T, text string) {
	t.Helper()
	for !strings.Contains(within(t, l), text) {
	}
}

func awaitStatus(t *testing.T, path, what string, is func(Status) bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		client, err := Dial(path + ".sock")
		if err != nil {
			return false
		}
		defer client.Close()
		s, err := client.Status(t.Context())
		return err == nil && is(s)
	}, redistest.Patience, 5*time.Millisecond, what)
}

func pending(s Status) (n uint64) {
	for _, topic := range s.Outbox.Topics {
		n += topic.Pending
	}
	return n
}

func delivered(s Status) bool { return s.Relay != nil && pending(s) == 0 }

// processor opens the outbox, while relays may have it, and serves it without a relay of its own.
func processor(t *testing.T, path string) *rig {
	t.Helper()
	box, err := Open(t.Context(), path, "", outbox.Options{LockTimeout: redistest.Patience})
	require.NoError(t, err)
	g := &rig{t: t, box: box}
	g.stop = serving(t, Options{Outbox: box}, patient)
	g.client, err = Dial(path + ".sock")
	require.NoError(t, err)
	return g
}

func (g *rig) quit() {
	g.t.Helper()
	require.NoError(g.t, g.client.Close())
	require.NoError(g.t, g.stop())
	require.NoError(g.t, g.box.Close())
}
