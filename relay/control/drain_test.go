package control

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

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
	default: // nobody reads any more
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

func TestASeparateRelayDrainsWhereverTheOutboxIs(t *testing.T) {
	d := deliverer{t, redistest.Start(t, redistest.Options{})}
	path := newFilePath(t)
	stop, stopStandby := d.drain(path), d.drain(path)
	awaitStatus(t, path, "a relay has opened the file itself", delivered)
	for i := range 3 {
		p := processor(t, path) // it is handed over
		addNews(t, p.box, "with-a-processor-"+strconv.Itoa(i))
		awaitStatus(t, path, "a relay drains over the socket", delivered)
		p.quit()
		awaitStatus(t, path, "a relay has opened the file again", delivered)
	}
	require.NoError(t, stop())
	awaitStatus(t, path, "the other one has", delivered)
	require.NoError(t, stopStandby())
	require.NoFileExists(t, path+".sock")

	box, err := outbox.Open(path, outbox.Options{})
	require.NoError(t, err)
	report, err := box.Verify(t.Context())
	require.NoError(t, err)
	require.Empty(t, report.Problems)
	require.NoError(t, box.Close())
}

func TestAPauseOutlastsTheHandOver(t *testing.T) {
	d := deliverer{t, redistest.Start(t, redistest.Options{})}
	path := newFilePath(t)
	stop := d.drain(path)
	awaitStatus(t, path, "the relay has the file", delivered)
	steer := func(do func(*Client, context.Context) (relay.Health, error)) relay.Health {
		client, err := Dial(path + ".sock")
		require.NoError(t, err)
		defer client.Close()
		health, err := do(client, t.Context())
		require.NoError(t, err)
		return health
	}
	paused := func(s Status) bool { return s.Relay != nil && s.Relay.State == relay.Paused }
	require.Equal(t, relay.Paused, steer((*Client).Pause).State)
	p := processor(t, path)
	addNews(t, p.box, "one")
	awaitStatus(t, path, "it is paused over the socket as well", paused)
	p.quit()
	awaitStatus(t, path, "and when it has the file again", func(s Status) bool { return paused(s) && pending(s) == 1 && s.DrainedBy == "" })
	p = processor(t, path)
	awaitStatus(t, path, "once more", paused)
	require.NotEqual(t, relay.Paused, steer((*Client).Resume).State)
	awaitStatus(t, path, "everything is delivered", delivered)
	p.quit()
	awaitStatus(t, path, "it stays resumed", func(s Status) bool { return delivered(s) && !paused(s) && s.DrainedBy == "" })
	require.NoError(t, stop())
}

func TestAHungRedisDoesNotDelayTheHandOver(t *testing.T) {
	d := deliverer{t, redistest.Start(t, redistest.Options{})}
	path := newFilePath(t)
	stop := d.drain(path)
	awaitStatus(t, path, "all is well", delivered)
	d.server.Freeze()
	t.Cleanup(d.server.Thaw)
	client, err := Dial(path + ".sock")
	require.NoError(t, err)
	_, err = client.RetryNow(t.Context()) // it asks Redis, which says nothing
	require.NoError(t, err)
	require.NoError(t, client.Close())

	p := processor(t, path) // it would take an hour
	d.server.Thaw()
	addNews(t, p.box, "more")
	awaitStatus(t, path, "all is delivered", delivered)
	require.NoError(t, stop())
	p.quit()
}

func TestAProcessorKeepsItsFile(t *testing.T) {
	path := newFilePath(t)
	p := processor(t, path)
	_, err := Open(t.Context(), path, "", outbox.Options{LockTimeout: 100 * time.Millisecond})
	require.ErrorIs(t, err, outbox.ErrLocked)
	require.ErrorIs(t, p.client.Handover(t.Context()), ErrKept)
	p.quit()

	box, err := outbox.Open(path, outbox.Options{})
	require.NoError(t, err)
	_, err = Open(t.Context(), path, "", outbox.Options{LockTimeout: 50 * time.Millisecond})
	require.ErrorIs(t, err, outbox.ErrLocked, "a process that serves no socket")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Open(ended, path, "", outbox.Options{LockTimeout: time.Hour})
	require.ErrorIs(t, err, outbox.ErrLocked)
	require.NoError(t, box.Close())
}

func TestADatabaseOfTheProcessorsOwnIsHandedOverToo(t *testing.T) {
	d := deliverer{t, redistest.Start(t, redistest.Options{})}
	path := newFilePath(t)
	stop := d.drain(path)
	for range 2 {
		awaitStatus(t, path, "the relay has opened the file", delivered)
		db, err := OpenDB(t.Context(), path, "", &bolt.Options{FreelistType: bolt.FreelistMapType, Timeout: redistest.Patience})
		require.NoError(t, err)
		box, err := outbox.New(db, outbox.Options{})
		require.NoError(t, err)
		halt := serving(t, Options{Outbox: box}, patient)
		require.NoError(t, db.Update(func(tx *bolt.Tx) error {
			_, err := box.Append(tx, outbox.Event{Topic: "news", MessageID: "mine", Payload: []byte("{}")})
			return err
		}))
		awaitStatus(t, path, "a relay drains over the socket", delivered)

		_, err = OpenDB(t.Context(), path, "", &bolt.Options{Timeout: 50 * time.Millisecond})
		require.ErrorIs(t, err, outbox.ErrLocked, "a processor keeps its file")
		require.NoError(t, errors.Join(halt(), box.Close(), db.Close()))
	}
	require.NoError(t, stop())

	db, err := OpenDB(t.Context(), filepath.Join(folder(t), "new.db"), "", nil)
	require.NoError(t, err)
	info, err := os.Stat(db.Path())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NoError(t, db.Close())
}

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

// deafServer takes no connection: whoever connects waits.
func deafServer(t *testing.T) (addr string) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, syscall.Listen(fd, 0))
	name, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	addr = "127.0.0.1:" + strconv.Itoa(name.(*syscall.SockaddrInet4).Port)
	for { // until its queue is full
		conn, err := net.DialTimeout("tcp", addr, 100*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
}

func TestARedisThatTakesNoConnectionDoesNotDelayTheHandOver(t *testing.T) {
	addr := deafServer(t)
	path := newFilePath(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Drain(ctx, DrainOptions{Path: path, Relay: func(source relay.Source) (*relay.Relay, func()) {
			client := relay.NewClient(relay.ClientOptions{Addrs: []string{addr}, DialTimeout: time.Hour})
			target := relay.NewRedis(client, time.Hour)
			return relay.New(source, target, relay.Options{Channels: map[string]string{"news": "test:news"}}), func() {
				target.Abort()
				_ = client.Close()
			}
		}})
	}()
	awaitStatus(t, path, "the relay has the file", func(s Status) bool { return s.Relay != nil })
	p := processor(t, path) // it would take an hour
	awaitStatus(t, path, "it goes on over the socket", func(s Status) bool { return s.DrainedBy != "" })
	cancel()
	p.quit() // the lease is lost: nothing keeps the relay
	require.NoError(t, within(t, ended))
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
