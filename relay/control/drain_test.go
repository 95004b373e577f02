package control

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestDrainWaitsForAFileThatIsHeldWithoutASocket(t *testing.T) {
	d := deliverer{t, redistest.Start(t, redistest.Options{})}
	path := newFilePath(t)
	box, err := outbox.Open(path, outbox.Options{})
	require.NoError(t, err)
	log := make(lines, 100)
	stop := d.drainLogging(path, log)
	log.wait(t, "the file is held by")
	require.NoError(t, box.Close())
	awaitStatus(t, path, "the relay has opened the file", delivered)
	require.NoError(t, stop())
}

func TestWhatDrainCannotMend(t *testing.T) {
	d := deliverer{t, redistest.Start(t, redistest.Options{})}
	ended := func(path string) error {
		ctx, cancel := context.WithTimeout(t.Context(), redistest.Patience)
		defer cancel()
		return Drain(ctx, DrainOptions{Path: path, Outbox: outbox.Options{MustExist: true}, Relay: func(source relay.Source) (*relay.Relay, func()) {
			return d.build(relay.Options{})(source), func() {}
		}})
	}
	t.Run("no file", func(t *testing.T) {
		require.ErrorIs(t, ended(filepath.Join(folder(t), "none.db")), outbox.ErrNotFound)
	})
	t.Run("no outbox", func(t *testing.T) {
		path := filepath.Join(folder(t), "text.db")
		require.NoError(t, os.WriteFile(path, []byte("a text"), 0o600))
		require.ErrorIs(t, ended(path), outbox.ErrForeign)
	})
	t.Run("another outbox behind the socket", func(t *testing.T) {
		p := processor(t, newFilePath(t))
		defer p.quit()
		other := newFilePath(t)
		require.NoError(t, os.Symlink(p.box.Path()+".sock", other+".sock"))
		require.ErrorContains(t, ended(other), "another outbox")
	})
}

func TestWhatIsDoneWhileDrainHasTheFile(t *testing.T) {
	d := deliverer{t, redistest.Start(t, redistest.Options{})}
	path := newFilePath(t)
	broken := errors.New("the port is taken")
	options := DrainOptions{Path: path, Relay: func(source relay.Source) (*relay.Relay, func()) {
		return d.build(relay.Options{})(source), func() {}
	}}
	ctx, cancel := context.WithTimeout(t.Context(), redistest.Patience)
	defer cancel()
	options.While = func(context.Context, *outbox.Outbox, func(context.Context) error) error { return broken }
	require.ErrorIs(t, Drain(ctx, options), broken)

	ending, end := context.WithCancel(ctx)
	options.While = func(ctx context.Context, _ *outbox.Outbox, drain func(context.Context) error) error {
		end()
		require.NoError(t, drain(ctx))
		return broken
	}
	require.ErrorIs(t, Drain(ending, options), broken, "also when it is to end")

	begun, over := make(chan bool, 10), make(chan bool, 10)
	options.While = func(ctx context.Context, box *outbox.Outbox, drain func(context.Context) error) error {
		begun <- true
		defer func() { over <- true }()
		addNews(t, box, uuid.NewString())
		return drain(ctx)
	}
	options.Routes = func(*outbox.Outbox) ([]Route, error) { return nil, broken }
	require.ErrorIs(t, Drain(ctx, options), broken)
	within(t, begun)
	within(t, over)

	options.Routes = func(*outbox.Outbox) ([]Route, error) {
		return []Route{{Method: "GET", Path: "/v1/greeting", Handle: func(w http.ResponseWriter, _ *http.Request) error {
			respond(w, http.StatusOK, "good day")
			return nil
		}}}, nil
	}
	ended := make(chan error, 1)
	go func() { ended <- Drain(ctx, options) }()
	within(t, begun)
	awaitStatus(t, path, "all is delivered", delivered)
	client, err := Dial(path + ".sock")
	require.NoError(t, err)
	var greeting string
	require.NoError(t, client.Call(ctx, Request{Method: "GET", Path: "/v1/greeting"}, &greeting))
	require.Equal(t, "good day", greeting)
	require.NoError(t, client.Close())
	p := processor(t, path)
	within(t, over) // when another process wants the file
	p.quit()
	within(t, begun)
	cancel()
	require.NoError(t, within(t, ended))
	within(t, over)
}

func TestDrainKeepsNoFileThatNobodyCouldAskItFor(t *testing.T) {
	d := deliverer{t, redistest.Start(t, redistest.Options{})}
	path := newFilePath(t)
	ctx, cancel := context.WithTimeout(t.Context(), redistest.Patience)
	defer cancel()
	err := Drain(ctx, DrainOptions{Path: path, Socket: filepath.Join(filepath.Dir(path), "none", "s"), Relay: func(source relay.Source) (*relay.Relay, func()) {
		return d.build(relay.Options{})(source), func() {}
	}})
	require.ErrorContains(t, err, "serve control socket")
	require.NoError(t, ctx.Err())
	p := processor(t, path)
	p.quit()
}

func TestDrainOutlivesAnOutboxThatHasFailedElsewhere(t *testing.T) {
	d := deliverer{t, redistest.Start(t, redistest.Options{})}
	path := newFilePath(t)
	p := processor(t, path)
	log := make(lines, 100)
	stop := d.drainLogging(path, log)
	awaitStatus(t, path, "all is delivered", delivered)
	require.NoError(t, p.box.Close()) // the socket is still served
	log.wait(t, "not draining for now")
	require.NoError(t, errors.Join(p.client.Close(), p.stop()))
	awaitStatus(t, path, "the relay has opened the file", delivered)
	require.NoError(t, stop())
}
