package outbox

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRestore(t *testing.T) {
	prepare := func(t *testing.T) (path, backup string) {
		o := openTemp(t, Options{})
		add(t, o, event("a", "1"))
		backup = o.Path() + ".backup"
		_, err := o.BackupFile(ctx, backup, BackupOptions{})
		require.NoError(t, err)
		add(t, o, event("a", "2"))
		require.NoError(t, o.Close())
		return o.Path(), backup
	}
	requireIDs := func(t *testing.T, path string, want ...string) {
		o, err := Open(path, Options{MustExist: true})
		require.NoError(t, err)
		defer o.Close()
		require.Equal(t, want, ids(t, o))
	}
	clock := newClock()
	opts := RestoreOptions{Now: clock.Now}

	t.Run("keeps the old file aside", func(t *testing.T) {
		path, backup := prepare(t)
		result, err := Restore(ctx, backup, path, opts)
		require.NoError(t, err)
		require.Equal(t, path+".before-restore-20250921T103000.000Z", result.Aside)
		require.Equal(t, 1, result.Events)
		require.NotZero(t, result.Bytes)
		requireIDs(t, path, "1")
		requireIDs(t, result.Aside, "1", "2")
		requireIDs(t, backup, "1")
	})
	t.Run("where there is no file", func(t *testing.T) {
		_, backup := prepare(t)
		path := filepath.Join(t.TempDir(), "folder", "new.db")
		result, err := Restore(ctx, backup, path, opts)
		require.NoError(t, err)
		require.Empty(t, result.Aside)
		requireIDs(t, path, "1")
		require.Empty(t, leftovers(t, filepath.Dir(path), "new.db"))
	})
	t.Run("in the place of a damaged file", func(t *testing.T) {
		path, backup := prepare(t)
		require.NoError(t, os.Truncate(path, 0))
		_, err := Restore(ctx, backup, path, opts)
		require.NoError(t, err)
		requireIDs(t, path, "1")
	})
	t.Run("changes nothing when it cannot", func(t *testing.T) {
		path, backup := prepare(t)
		base, back := filepath.Base(path), filepath.Base(backup)
		try := func(from, to string, o RestoreOptions, want error, says string) {
			t.Helper()
			_, err := Restore(ctx, from, to, o)
			require.ErrorIs(t, err, want)
			require.ErrorContains(t, err, says)
			require.Empty(t, leftovers(t, filepath.Dir(path), base, back))
		}
		held := openAt(t, path, Options{})
		var locked *LockedError
		_, err := Restore(ctx, backup, path, opts)
		require.ErrorAs(t, err, &locked)
		require.Equal(t, os.Getpid(), locked.PID)
		dry := opts
		dry.DryRun = true
		try(backup, path, dry, ErrLocked, "held")
		require.NoError(t, held.Close())

		held = openAt(t, backup, Options{})
		try(backup, path, opts, ErrLocked, "held")
		require.NoError(t, held.Close())

		try(path+".none", path, opts, ErrNotFound, "no such file")
		try(path, path, opts, ErrInvalid, "the backup itself")
		try(filepath.Dir(path), path, opts, ErrForeign, "not a regular file")
		try(backup, filepath.Dir(path), opts, ErrForeign, "not a regular file")
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		_, err = Restore(cancelled, backup, path, opts)
		require.ErrorIs(t, err, context.Canceled)
		unsound := opts
		unsound.Verify = func(_ context.Context, path string) (Report, error) {
			return Report{Problems: []string{"page 7 of " + path + " is odd", "and so on"}}, nil
		}
		try(backup, path, unsound, ErrDamaged, "page 7 of "+backup+" is odd (and 1 more)")
		require.NoError(t, os.Truncate(backup, 5000))
		try(backup, path, opts, ErrDamaged, "truncated to 5000")
		require.NoError(t, os.Truncate(backup, 0))
		try(backup, path, opts, ErrDamaged, "it is empty")
		requireIDs(t, path, "1", "2")
	})
	t.Run("of a dry run", func(t *testing.T) {
		path, backup := prepare(t)
		dry := opts
		dry.DryRun = true
		result, err := Restore(ctx, backup, path, dry)
		require.NoError(t, err)
		require.Contains(t, result.Aside, ".before-restore-")
		require.Empty(t, leftovers(t, filepath.Dir(path), filepath.Base(path), filepath.Base(backup)))
	})
}

func TestWhatIsDamagedOrNoOutboxIsAProblemAndNoError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	report, err := VerifyFile(ctx, path)
	require.NoError(t, err)
	require.Len(t, report.Problems, 1)
	require.Contains(t, report.Problems[0], "it is empty")
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("text ", 9999)), 0o600))
	report, err = VerifyFile(ctx, path)
	require.NoError(t, err)
	require.Equal(t, []string{"not an outbox file: no bbolt meta page with a right checksum"}, report.Problems, "the first pages may have been overwritten")
	_, err = VerifyFile(ctx, path+".none")
	require.ErrorIs(t, err, ErrNotFound)
}

func TestAFileIsVerifiedWithoutWritingToIt(t *testing.T) {
	o := openTemp(t, Options{})
	_, err := o.Add(ctx, event("a", "1"))
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "copy.db")
	_, err = o.BackupFile(ctx, path, BackupOptions{})
	require.NoError(t, err)
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(path, 0o444))
	other, err := Open(path, Options{MustExist: true, ReadOnly: true})
	require.NoError(t, err)
	report, err := VerifyFile(ctx, path)
	require.NoError(t, err, "others may read it meanwhile")
	require.Empty(t, report.Problems)
	require.Equal(t, 1, report.Events)
	_, err = other.Add(ctx, event("a", "2"))
	require.Error(t, err)
	require.NoError(t, other.Close())
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.EqualValues(t, 0o444, info.Mode().Perm())
	_, err = VerifyFile(ctx, o.Path())
	require.ErrorIs(t, err, ErrLocked)
}
