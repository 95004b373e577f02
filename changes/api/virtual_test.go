package api

import (
	"context"
	"net/http"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/integration_test/pipenet"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay/control"
)

const token = "0123456789abcdef"

// withToken sends requests to a port with what it asks of them.
type withToken struct{ *http.Transport }

func (w withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Host = "localhost"
	r.Header.Set("Authorization", "Bearer "+token)
	return w.Transport.RoundTrip(r)
}

// virtually runs a test of an API that is served on a port in memory, under limits that pass in virtual time only: while no goroutine
// has anything to do.
func virtually(t *testing.T, opts Options, test func(t *testing.T, g *rig)) {
	t.Helper()
	warm := startPlain(t)
	warm.ok(warm.post("/v1/matches", two)) // as bubble.WarmUp does, for what package changes makes once as well
	path := filepath.Join(t.TempDir(), "test.db")
	synctest.Test(t, func(t *testing.T) {
		box, err := outbox.Open(path, outbox.Options{})
		require.NoError(t, err)
		recorder, err := changes.NewRecorder(box, changes.Options{})
		require.NoError(t, err)
		g := &rig{t: t, box: box, recorder: recorder, api: New(recorder, opts)}
		listener := pipenet.Listen()
		transport := &http.Transport{DialContext: listener.Dial}
		g.web = &http.Client{Transport: withToken{transport}}
		serving, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() {
			ended <- control.ServeTCP(serving, control.TCPOptions{Listener: listener, Token: token, Routes: g.api.Routes()})
		}()
		t.Cleanup(func() {
			transport.CloseIdleConnections()
			stop()
			require.NoError(t, <-ended)
			time.Sleep(time.Minute) // a connection that is closed lingers for a moment
			require.NoError(t, box.Close())
		})
		test(t, g)
	})
}
