package outbox

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func init() {
	children["draft"] = func(args []string) error {
		_, err := newDraft(args[0], func(*os.File) error {
			fmt.Println("drafting")
			_, _ = io.Copy(io.Discard, os.Stdin)
			return nil
		})
		return err
	}
}

// age makes a file look as if nobody had written to it for a while.
func age(t *testing.T, path string) {
	t.Helper()
	before := time.Now().Add(-2 * draftAge)
	require.NoError(t, os.Chtimes(path, before, before))
}

func TestTheDraftOfAKilledProcessIsRemovedByTheNextOne(t *testing.T) {
	for _, tt := range []struct {
		name string
		next func(o *Outbox, folder string) error
	}{
		{"by a backup", func(o *Outbox, folder string) error {
			_, err := o.BackupFile(ctx, filepath.Join(folder, "another.db"), BackupOptions{})
			return err
		}},
		{"by a backup to a writer", func(o *Outbox, _ string) error {
			_, err := o.Backup(ctx, io.Discard)
			return err
		}},
		{"by compacting", func(o *Outbox, _ string) error {
			if err := o.Close(); err != nil {
				return err
			}
			_, err := Compact(ctx, o.Path(), nil)
			return err
		}},
		{"by a restore", func(o *Outbox, folder string) error {
			copied := filepath.Join(t.TempDir(), "copy.db")
			if _, err := o.BackupFile(ctx, copied, BackupOptions{}); err != nil {
				return err
			}
			_, err := Restore(ctx, copied, filepath.Join(folder, "restored.db"), RestoreOptions{})
			return err
		}},
		{"by making an outbox", func(_ *Outbox, folder string) error {
			o, err := Open(filepath.Join(folder, "new.db"), Options{})
			if err != nil {
				return err
			}
			return o.Close()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := openTemp(t, Options{})
			folder := filepath.Dir(o.Path())
			child := exec.Command(os.Args[0], filepath.Join(folder, "copy.db"))
			child.Env = append(os.Environ(), childEnv+"=draft")
			in, err := child.StdinPipe()
			require.NoError(t, err)
			defer in.Close()
			out, err := child.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, child.Start())
			_, err = bufio.NewReader(out).ReadString('\n')
			require.NoError(t, err)
			drafts, err := filepath.Glob(filepath.Join(folder, "copy.db.new-*"))
			require.NoError(t, err)
			require.Len(t, drafts, 1)

			age(t, drafts[0])
			sweepDrafts(folder)
			require.FileExists(t, drafts[0], "its process lives")
			require.NoError(t, child.Process.Kill())
			require.Error(t, child.Wait())
			require.NoError(t, tt.next(o, folder))
			require.NoFileExists(t, drafts[0])
		})
	}
}

func TestOnlyDraftsThatNobodyWorksOnAreRemoved(t *testing.T) {
	folder := t.TempDir()
	const id = ".new-0b5e1c1e-98a5-4a53-8b3f-5a1f2f6b3a11"
	for _, name := range []string{"old.db" + id, "fresh.db" + id, "other.db.new", "other.db.new-1", "other.db" + id + ".keep", "copy.db"} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte("x"), 0o600))
		if name != "fresh.db"+id {
			age(t, filepath.Join(folder, name))
		}
	}
	require.NoError(t, os.Mkdir(filepath.Join(folder, "folder"+id), 0o700))
	age(t, filepath.Join(folder, "folder"+id))
	require.NoError(t, os.Symlink("copy.db", filepath.Join(folder, "link"+id)))
	sweepDrafts(folder)
	require.Empty(t, leftovers(t, folder, "fresh.db"+id, "other.db.new", "other.db.new-1", "other.db"+id+".keep", "copy.db",
		"folder"+id, "link"+id), "the old one is gone")
	require.Len(t, leftovers(t, folder), 7)
	sweepDrafts(filepath.Join(folder, "none"))
}

func TestADraftStaysLockedUntilItIsPlacedOrGivenUp(t *testing.T) {
	o := openTemp(t, Options{})
	path := filepath.Join(t.TempDir(), "copy.db")
	verified := false
	_, err := o.BackupFile(ctx, path, BackupOptions{Verify: func(_ context.Context, draft string) (Report, error) {
		verified = true
		age(t, draft)
		sweepDrafts(filepath.Dir(draft))
		require.FileExists(t, draft)
		return VerifyFile(ctx, draft)
	}})
	require.NoError(t, err)
	require.True(t, verified)
	_, err = o.BackupFile(ctx, path+"2", BackupOptions{Verify: func(_ context.Context, draft string) (Report, error) {
		return Report{Problems: []string{draft + " is odd"}}, nil
	}})
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, "the copy does not verify: ")
	require.Empty(t, leftovers(t, filepath.Dir(path), "copy.db"))
}

func TestADraftGetsItsNameWhereThereAreNoHardLinks(t *testing.T) {
	defer func() { link = os.Link }()
	for _, refused := range []error{syscall.EPERM, syscall.ENOTSUP} {
		link = func(from, to string) error { return &os.LinkError{Op: "link", Old: from, New: to, Err: refused} }
		o := openSample(t)
		path := filepath.Join(t.TempDir(), "copy.db")
		_, err := o.BackupFile(ctx, path, BackupOptions{Verify: VerifyFile})
		require.NoError(t, err)
		before, err := os.ReadFile(path)
		require.NoError(t, err)

		draft, err := newDraft(path, func(f *os.File) error { _, err := f.WriteString("another"); return err })
		require.NoError(t, err)
		require.ErrorIs(t, draft.place(path, false), fs.ErrExist, "one that is there is never replaced unasked")
		require.NoError(t, draft.close())
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, before, after)
		require.Empty(t, leftovers(t, filepath.Dir(path), "copy.db"))
	}
}
