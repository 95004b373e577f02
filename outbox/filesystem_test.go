package outbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/disktest"
)

func TestFileError_NamesTheFileSystemAndTheNextStep(t *testing.T) {
	onSmallDisk(t, func(dir string) {
		for errno, next := range map[syscall.Errno]string{
			syscall.EROFS:      "it is mounted read-only: have it mounted for writing, or use a file elsewhere",
			syscall.ENOLCK:     "start its lock service (NFS: rpc.statd on both sides), or keep the outbox on a local disk",
			syscall.EOPNOTSUPP: "keep the outbox on a local disk",
			syscall.ENOSYS:     "keep the outbox on a local disk",
			syscall.ENODEV:     "keep the outbox on a local disk",
			syscall.EINVAL:     "keep the outbox on a local disk",
		} {
			err := fileError(filepath.Join(dir, "outbox.db"), fmt.Errorf("lock: %w", errno))
			require.ErrorIs(t, err, errno)
			require.ErrorContains(t, err, errno.Error()+": the file system of "+dir+", tmpfs: it ")
			require.ErrorContains(t, err, next)
		}
	})
	for _, other := range []error{nil, ErrLocked, syscall.EACCES, ErrDiskFull} {
		require.Equal(t, other, fileError("outbox.db", other))
	}
	require.ErrorIs(t, fileError("outbox.db", syscall.ENOSPC), ErrDiskFull)
	_, err := Open("a\x00b", Options{})
	require.ErrorIs(t, err, syscall.EINVAL)
	require.NotContains(t, err.Error(), "file system", "it is the name that is wrong")
}

func TestBackup_DoesNotTakeAnErrorOfItsWriterForOneOfTheFileSystem(t *testing.T) {
	o := openTemp(t, Options{})
	_, err := o.Backup(ctx, refusing{syscall.EOPNOTSUPP})
	require.ErrorIs(t, err, syscall.EOPNOTSUPP)
	require.NotContains(t, err.Error(), "file system")
}

// refusing is a writer that cannot be written to.
type refusing struct{ err error }

func (r refusing) Write([]byte) (int, error) { return 0, r.err }

func TestOpen_OnAFileSystemThatRefusesWhatAnOutboxNeeds(t *testing.T) {
	for inject, next := range map[string]string{
		"flock:error=ENOLCK":     "start its lock service",
		"flock:error=EOPNOTSUPP": "keep the outbox on a local disk",
	} {
		t.Run(inject, func(t *testing.T) {
			o := openTemp(t, Options{})
			require.NoError(t, o.Close())
			run := child("open", o.Path())
			require.NoError(t, disktest.Strace(run, "-o", os.DevNull, "-e", "trace=flock", "-e", "inject="+inject))
			run.Stderr = nil
			_, err := run.Output()
			var failed *exec.ExitError
			require.ErrorAs(t, err, &failed)
			require.Contains(t, string(failed.Stderr), "the file system of "+filepath.Dir(o.Path()))
			require.Contains(t, string(failed.Stderr), next)
		})
	}
}

func init() {
	children["open"] = func(args []string) error {
		o, err := Open(args[0], Options{})
		if err == nil {
			err = o.Close()
		}
		return err
	}
}

func TestAnOutboxIsMadeAndRestoredWhereThereAreNoHardLinks(t *testing.T) {
	defer func() { link = os.Link }()
	for _, refused := range []error{syscall.EPERM, syscall.EOPNOTSUPP, syscall.EMLINK} {
		link = func(from, to string) error { return &os.LinkError{Op: "link", Old: from, New: to, Err: refused} }
		path := filepath.Join(t.TempDir(), "outbox.db")
		o, err := Open(path, Options{})
		require.NoError(t, err)
		add(t, o, event("a", "one"))
		backup := filepath.Join(t.TempDir(), "backup")
		_, err = o.BackupFile(ctx, backup, BackupOptions{})
		require.NoError(t, err)
		add(t, o, event("a", "two"))
		require.NoError(t, o.Close())

		result, err := Restore(ctx, backup, path, RestoreOptions{Now: func() time.Time { return time.Unix(0, 0) }})
		require.NoError(t, err)
		requireSound(t, path)
		requireSound(t, result.Aside)
		require.Equal(t, []string{"one"}, ids(t, openAt(t, path, Options{})))
		require.Equal(t, []string{"one", "two"}, ids(t, openAt(t, result.Aside, Options{})), "what was there is kept")
		require.Empty(t, leftovers(t, filepath.Dir(path), "outbox.db", filepath.Base(result.Aside)))
	}
}

func TestOpen_ReadOnlyWritesNothing(t *testing.T) {
	o := openTemp(t, Options{})
	add(t, o, event("a", "one"))
	require.NoError(t, o.Close())
	reader := openAt(t, o.Path(), Options{ReadOnly: true})
	require.Equal(t, []string{"one"}, ids(t, reader))
	_, err := reader.Add(ctx, event("a", "two"))
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorIs(t, reader.Settle(ctx, Receipt{Topic: "a", Through: 1}), ErrInvalid)
	require.NoError(t, reader.Close())
	_, err = Open(filepath.Join(t.TempDir(), "none.db"), Options{ReadOnly: true})
	require.True(t, errors.Is(err, ErrNotFound), "it makes none")
}
