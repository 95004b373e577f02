package outbox

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

// waiting is a processor that knows nothing of an outbox: it waits for the file, and writes to what it gets.
func waiting(args []string) error {
	db, err := bolt.Open(args[0], 0o600, &bolt.Options{Timeout: patience, OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag, mode)
		fmt.Println("it is open")
		return f, err
	}})
	if err != nil {
		return err
	}
	if err := db.Update(func(tx *bolt.Tx) error { return putState(tx, "lost") }); err != nil {
		return err
	}
	return db.Close()
}

func init() { children["waiting"] = waiting }

func TestRetire_WhoWaitsForTheLockCannotWriteToTheFileThatWasReplaced(t *testing.T) {
	for name, replace := range map[string]func(t *testing.T, path string, verify VerifyFunc) (kept string){
		"compacted": func(t *testing.T, path string, verify VerifyFunc) string {
			result, err := Compact(ctx, path, verify)
			require.NoError(t, err)
			require.Less(t, result.After, result.Before)
			return path
		},
		"restored": func(t *testing.T, path string, verify VerifyFunc) string {
			backup := filepath.Join(t.TempDir(), "backup")
			o, err := Open(path, Options{})
			require.NoError(t, err)
			_, err = o.BackupFile(ctx, backup, BackupOptions{})
			require.NoError(t, err)
			require.NoError(t, o.Close())
			result, err := Restore(ctx, backup, path, RestoreOptions{Verify: verify})
			require.NoError(t, err)
			return result.Aside
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := roomyFile(t)
			child := exec.Command(os.Args[0], path)
			child.Env = append(os.Environ(), childEnv+"=waiting")
			var stderr bytes.Buffer
			child.Stderr = &stderr
			out, err := child.StdoutPipe()
			require.NoError(t, err)
			kept := replace(t, path, func(ctx context.Context, draft string) (Report, error) { // the lock is held meanwhile
				require.NoError(t, child.Start())
				_, err := fmt.Fscanf(out, "it is open\n")
				require.NoError(t, err)
				return VerifyFile(ctx, draft)
			})
			require.Error(t, child.Wait(), "it has written to a file that nobody finds any more")
			require.Equal(t, "invalid database\n", stderr.String())
			for _, path := range []string{path, kept} {
				requireSound(t, path)
				o := openAt(t, path, Options{})
				require.Equal(t, []string{"one"}, ids(t, o))
				require.NoError(t, o.Close())
			}
		})
	}
}

func TestRestore_KeepsTheOldFileItselfWhereThereIsNoRoomForACopy(t *testing.T) {
	onSmallDisk(t, func(dir string) {
		o, err := Open(filepath.Join(dir, "outbox.db"), Options{})
		require.NoError(t, err)
		backup := filepath.Join(t.TempDir(), "backup")
		_, err = o.BackupFile(ctx, backup, BackupOptions{})
		require.NoError(t, err)
		add(t, o, Event{Topic: "a", MessageID: "large", Payload: noise(2 << 20)})
		require.NoError(t, o.Close())
		was, err := os.Stat(o.Path())
		require.NoError(t, err)

		result, err := Restore(ctx, backup, o.Path(), RestoreOptions{})
		require.NoError(t, err)
		kept, err := os.Stat(result.Aside)
		require.NoError(t, err)
		require.True(t, os.SameFile(was, kept))
		requireSound(t, result.Aside)
		require.Empty(t, leftovers(t, dir, "outbox.db", filepath.Base(result.Aside)))
		requireSound(t, o.Path())
	})
}
