package control

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

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

func TestOpenDB_OpensTheFileThatHasTheNameNow(t *testing.T) {
	path, backup := newFilePath(t), filepath.Join(t.TempDir(), "backup")
	box, err := outbox.Open(path, outbox.Options{})
	require.NoError(t, err)
	_, err = box.BackupFile(t.Context(), backup, outbox.BackupOptions{})
	require.NoError(t, errors.Join(err, box.Close()))
	opens := 0
	db, err := OpenDB(t.Context(), path, "", &bolt.Options{Timeout: redistest.Patience, OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag, mode)
		switch opens++; opens { // before it is locked
		case 1:
			_, restoreErr := outbox.Restore(t.Context(), backup, path, outbox.RestoreOptions{})
			require.NoError(t, restoreErr)
		case 2:
			require.NoError(t, os.Remove(path))
		}
		return f, err
	}})
	require.NoError(t, err)
	require.Equal(t, 3, opens)
	box, err = outbox.New(db, outbox.Options{})
	require.NoError(t, err)
	require.NoError(t, errors.Join(box.Close(), db.Close()))
}

// deafServer takes no connection: who connects, waits.
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
