package control

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/bubble"
	"github.com/PitchConnect/matchrelay/integration_test/pipenet"
	"github.com/PitchConnect/matchrelay/outbox"
)

// What a process serves in place of a socket is all that its clients know of.
func TestServe_TakesAListenerOfTheCallers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	require.NoError(t, bubble.WarmUp(t.TempDir()))
	synctest.Test(t, func(t *testing.T) {
		box, err := outbox.Open(path, outbox.Options{})
		require.NoError(t, err)
		network := pipenet.Listen()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- Serve(ctx, Options{Outbox: box, Listener: network}) }()
		client := NewClient("in memory", func(ctx context.Context) (net.Conn, error) { return network.Dial(ctx, "", "") })
		status, err := client.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, box.Path(), status.File.Path)
		require.NoFileExists(t, path+".sock")

		cancel()
		require.NoError(t, <-ended)
		_, err = client.Status(t.Context())
		require.ErrorIs(t, err, net.ErrClosed, "it is closed")
		require.NoError(t, client.Close())
		time.Sleep(time.Minute) // a connection that is closed lingers for a moment
		require.NoError(t, box.Close())
	})
}
