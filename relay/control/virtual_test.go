package control

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/bubble"
	"github.com/PitchConnect/matchrelay/integration_test/pipenet"
	"github.com/PitchConnect/matchrelay/outbox"
)

// virtual is a rig whose time is virtual, and whose socket is in memory.
type virtual struct {
	*rig
	socket *pipenet.Listener
}

// virtually runs a test with limits, and a lease, that pass in virtual time only: while no goroutine has anything to do.
func virtually(t *testing.T, opts Options, lim limits, test func(t *testing.T, v virtual)) {
	t.Helper()
	require.NoError(t, bubble.WarmUp(t.TempDir()))
	path := filepath.Join(t.TempDir(), "test.db")
	synctest.Test(t, func(t *testing.T) {
		box, err := outbox.Open(path, outbox.Options{})
		require.NoError(t, err)
		opts.Outbox, opts.Logger = box, slog.New(slog.DiscardHandler)
		s := &server{opts: opts, limits: lim}
		v := virtual{&rig{t: t, box: box, path: path}, pipenet.Listen()}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- s.run(ctx, v.socket, s.handler(s.routes()), func() error { return nil }) }()
		v.stop = sync.OnceValue(func() error {
			cancel()
			return <-ended
		})
		v.client = NewClient("in memory", func(ctx context.Context) (net.Conn, error) { return v.socket.Dial(ctx, "", "") })
		t.Cleanup(func() {
			require.NoError(t, v.client.Close())
			require.NoError(t, v.stop())
			time.Sleep(time.Minute) // a connection that is closed lingers for a moment
			require.NoError(t, box.Close())
		})
		test(t, v)
	})
}
