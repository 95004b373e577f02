package outbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

func TestCompact(t *testing.T) {
	clock := newClock()
	o := openTemp(t, Options{Now: clock.Now})
	require.NoError(t, o.Update(ctx, func(tx *bolt.Tx) error { return putState(tx, "own") }))
	for i := range 40 {
		add(t, o, Event{Topic: "a", MessageID: fmt.Sprint(i), Payload: noise(50_000), Key: fmt.Sprint("key-", i)})
	}
	settle(t, o, "a", 39)
	clock.advance(DefaultRetention * 2)
	_, err := o.Prune(ctx)
	require.NoError(t, err)
	before := states(t, o)
	stats, err := o.Stats(ctx)
	require.NoError(t, err)
	_, err = Compact(ctx, o.Path(), nil)
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, o.Close())
	was, err := os.Stat(o.Path())
	require.NoError(t, err)

	_, err = Compact(ctx, o.Path(), func(context.Context, string) (Report, error) { return Report{}, errors.New("cannot verify") })
	require.ErrorContains(t, err, "the file is as it was: cannot verify")
	now, err := os.Stat(o.Path())
	require.NoError(t, err)
	require.True(t, os.SameFile(was, now))

	result, err := Compact(ctx, o.Path(), nil)
	require.NoError(t, err)
	require.Equal(t, 1, result.Events)
	require.Equal(t, was.Size(), result.Before)
	require.Less(t, result.After, result.Before/4)
	now, err = os.Stat(o.Path())
	require.NoError(t, err)
	require.Equal(t, result.After, now.Size())
	require.Equal(t, fs.FileMode(0o600), now.Mode())
	require.Empty(t, leftovers(t, filepath.Dir(o.Path()), filepath.Base(o.Path())))

	result, err = Compact(ctx, o.Path(), nil)
	require.NoError(t, err)
	require.Equal(t, result.Before, result.After)
	again, err := os.Stat(o.Path())
	require.NoError(t, err)
	require.True(t, os.SameFile(now, again), "there is nothing to gain: the file stays")
	require.Empty(t, leftovers(t, filepath.Dir(o.Path()), filepath.Base(o.Path())))

	o = openAt(t, o.Path(), Options{Now: clock.Now})
	require.Equal(t, before, states(t, o))
	require.Equal(t, []string{"own"}, stateKeys(t, o))
	compacted, err := o.Stats(ctx)
	require.NoError(t, err)
	stats.FileBytes, compacted.FileBytes = 0, 0
	require.Equal(t, stats, compacted)
	require.Equal(t, []uint64{40}, add(t, o, Event{Topic: "a", MessageID: "x", Payload: []byte("x"), Key: "key-39"}), "keys are kept")
	require.Equal(t, []uint64{41}, add(t, o, event("a", "41")))

	_, err = Compact(ctx, o.Path()+".none", nil)
	require.ErrorIs(t, err, ErrNotFound)
}

func TestALinkToTheFileStaysALink(t *testing.T) {
	folder, elsewhere := t.TempDir(), t.TempDir()
	file, link := filepath.Join(elsewhere, "outbox.db"), filepath.Join(folder, "link.db")
	o := openAt(t, file, Options{})
	add(t, o, events("a", "1", "2")...)
	require.NoError(t, o.Close())
	require.NoError(t, os.Symlink(file, link))
	linked := func() {
		t.Helper()
		info, err := os.Lstat(link)
		require.NoError(t, err)
		require.NotZero(t, info.Mode()&os.ModeSymlink)
		o := openAt(t, link, Options{})
		require.Equal(t, file, o.Path())
		_, err = Open(file, Options{LockTimeout: time.Millisecond})
		require.ErrorIs(t, err, ErrLocked, "it is one file")
		require.NoError(t, o.Close())
	}
	linked()
	_, err := Compact(ctx, link, VerifyFile)
	require.NoError(t, err)
	linked()
	copied := filepath.Join(folder, "copy.db")
	o = openAt(t, link, Options{})
	_, err = o.BackupFile(ctx, copied, BackupOptions{})
	require.NoError(t, err)
	require.NoError(t, o.Close())
	restored, err := Restore(ctx, copied, link, RestoreOptions{Verify: VerifyFile})
	require.NoError(t, err)
	require.Equal(t, elsewhere, filepath.Dir(restored.Aside))
	linked()
	fresh := openAt(t, filepath.Join(folder, "link.db"), Options{})
	require.Equal(t, file, fresh.Path())
}
