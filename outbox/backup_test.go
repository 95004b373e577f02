package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// leftovers lists what is in the outbox's folder beside the files that are meant to be there.
func leftovers(t testing.TB, dir string, meant ...string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		known := false
		for _, name := range meant {
			known = known || e.Name() == name
		}
		if !known {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestABackupUnderLoadIsOneMomentOfTheFile(t *testing.T) {
	o := openTemp(t, Options{})
	dir := filepath.Dir(o.Path())
	done := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 3 {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				// Two topics in one commit: a copy that mixes commits would not verify.
				if _, err := o.Add(ctx, event("a", fmt.Sprint("a", w, "-", i)), event("b", fmt.Sprint("b", w, "-", i))); err != nil {
					t.Error(err)
				}
				if i%10 == 9 {
					if err := o.Settle(ctx, Receipt{Topic: "a", Through: uint64(i), Origin: ""}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	for i := range 15 {
		path := filepath.Join(dir, fmt.Sprint("copy-", i))
		n, err := o.BackupFile(ctx, path, BackupOptions{})
		require.NoError(t, err)
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, n, info.Size())
		require.Equal(t, fs.FileMode(0o600), info.Mode())
		report, err := VerifyFile(ctx, path)
		require.NoError(t, err)
		require.Empty(t, report.Problems)
		require.NoError(t, os.Remove(path))
	}
	var b bytes.Buffer
	n, err := o.Backup(ctx, &b)
	require.NoError(t, err)
	require.EqualValues(t, b.Len(), n)
	close(done)
	writers.Wait()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "streamed"), b.Bytes(), 0o600))
	requireSound(t, filepath.Join(dir, "streamed"))
	require.Empty(t, leftovers(t, dir, filepath.Base(o.Path()), "streamed"))
}

func TestABackupNeverReplacesAFileUnasked(t *testing.T) {
	o := openTemp(t, Options{})
	add(t, o, event("a", "1"))
	dir := filepath.Dir(o.Path())
	path := filepath.Join(dir, "copy")
	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o644))
	_, err := o.BackupFile(ctx, path, BackupOptions{})
	require.ErrorIs(t, err, fs.ErrExist)
	kept, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "precious", string(kept))
	_, err = o.BackupFile(ctx, path, BackupOptions{Overwrite: true})
	require.NoError(t, err)
	requireSound(t, path)
	for _, overwrite := range []bool{false, true} {
		_, err = o.BackupFile(ctx, o.Path(), BackupOptions{Overwrite: overwrite})
		require.ErrorIs(t, err, ErrInvalid)
	}
	_, err = o.BackupFile(ctx, filepath.Join(dir, "no", "such", "folder"), BackupOptions{})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Empty(t, leftovers(t, dir, filepath.Base(o.Path()), "copy"))
}

func TestBackupFile_NeverReplacesAnOutboxThatIsInUse(t *testing.T) {
	o, other := openTemp(t, Options{}), openTemp(t, Options{})
	add(t, other, event("a", "precious"))
	linked := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(other.Path(), linked))
	for _, path := range []string{other.Path(), linked} {
		_, err := o.BackupFile(ctx, path, BackupOptions{Overwrite: true})
		require.ErrorIs(t, err, ErrLocked)
		require.ErrorContains(t, err, "choose another name")
	}
	add(t, other, event("a", "more"))

	// One that is opened while the copy is made.
	path := filepath.Join(t.TempDir(), "late.db")
	var late *Outbox
	_, err := SaveBackup(ctx, o.Path(), path, BackupOptions{Overwrite: true}, func(w io.Writer) error {
		late = openAt(t, path, Options{})
		add(t, late, event("a", "late"))
		return o.copyTo(ctx, w)
	})
	require.ErrorIs(t, err, ErrLocked)
	add(t, late, event("a", "later"))
	require.Empty(t, leftovers(t, filepath.Dir(path), "late.db"))
	require.NoError(t, late.Close())
	_, err = o.BackupFile(ctx, path, BackupOptions{Overwrite: true})
	require.NoError(t, err, "nobody has it open any more")
}

// brokenWriter fails after some bytes.
type brokenWriter struct{ left int }

func (w *brokenWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(b), nil
}

func TestABackupThatFailsLeavesNothing(t *testing.T) {
	o := openTemp(t, Options{})
	add(t, o, Event{Topic: "a", MessageID: "1", Payload: noise(100_000)})
	_, err := o.Backup(ctx, &brokenWriter{left: 40_000})
	require.ErrorIs(t, err, io.ErrClosedPipe)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	path := filepath.Join(filepath.Dir(o.Path()), "copy")
	_, err = o.BackupFile(cancelled, path, BackupOptions{})
	require.ErrorIs(t, err, context.Canceled)
	_, err = o.Backup(cancelled, io.Discard)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, leftovers(t, filepath.Dir(o.Path()), filepath.Base(o.Path())))
	require.NoError(t, o.Close())
	_, err = o.Backup(ctx, io.Discard)
	require.ErrorIs(t, err, ErrClosed)
	_, err = o.BackupFile(ctx, path, BackupOptions{})
	require.ErrorIs(t, err, ErrClosed)
}

func TestOnAFullDiskBackupRestoreAndCompactLeaveWhatIsThere(t *testing.T) {
	onSmallDisk(t, func(dir string) {
		elsewhere := filepath.Join(t.TempDir(), "copy")
		o, err := Open(filepath.Join(dir, "outbox.db"), Options{})
		require.NoError(t, err)
		defer o.Close()
		add(t, o, Event{Topic: "a", MessageID: "1", Payload: noise(1_000_000)})
		_, err = o.BackupFile(ctx, elsewhere, BackupOptions{})
		require.NoError(t, err)
		ballast := fillDisk(t, dir)
		_, err = o.BackupFile(ctx, filepath.Join(dir, "copy"), BackupOptions{})
		require.ErrorIs(t, err, ErrDiskFull)
		_, err = o.Backup(ctx, io.Discard)
		require.ErrorIs(t, err, ErrDiskFull)
		require.NoError(t, o.Close())
		_, err = Compact(ctx, o.Path(), nil)
		require.ErrorIs(t, err, ErrDiskFull)
		_, err = Restore(ctx, elsewhere, o.Path(), RestoreOptions{})
		require.ErrorIs(t, err, ErrDiskFull)
		require.Empty(t, leftovers(t, dir, "outbox.db", "ballast"))
		require.NoError(t, os.Remove(ballast))
		requireSound(t, o.Path())
	})
}

func TestABackupReplacesNothingButFiles(t *testing.T) {
	o := openTemp(t, Options{})
	folder := t.TempDir()
	pipe := filepath.Join(folder, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for _, path := range []string{folder, pipe} {
		_, err := o.BackupFile(ctx, path, BackupOptions{Overwrite: true})
		require.ErrorIs(t, err, ErrInvalid)
	}
	require.Empty(t, leftovers(t, folder, "pipe"))
}

func TestABackupOfATruncatedFileIsDamage(t *testing.T) {
	o, err := Open(filepath.Join(t.TempDir(), "test.db"), Options{})
	require.NoError(t, err)
	add(t, o, event("a", "1"))
	require.NoError(t, os.Truncate(o.Path(), 8192))
	_, err = o.BackupFile(ctx, o.Path()+".copy", BackupOptions{})
	require.ErrorIs(t, err, ErrDamaged)
	require.NoFileExists(t, o.Path()+".copy")
	_ = o.Close()
}

func TestVerifyCopyLeavesNoCopy(t *testing.T) {
	o := openSample(t)
	report, err := VerifyCopy(ctx, o.Path(), VerifyFile, func(w io.Writer) error {
		_, err := o.Backup(ctx, w)
		return err
	})
	require.NoError(t, err)
	require.Empty(t, report.Problems)
	require.NotZero(t, report.Events)
	refused := errors.New("refused")
	_, err = VerifyCopy(ctx, o.Path(), VerifyFile, func(io.Writer) error { return refused })
	require.ErrorIs(t, err, refused)
	require.ErrorContains(t, err, "verify a copy of "+o.Path())
	require.Empty(t, leftovers(t, filepath.Dir(o.Path()), filepath.Base(o.Path())))
}
