package outbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

// replacements are what gives the name of an outbox's file to another one.
var replacements = map[string]func(t *testing.T, path string){
	"compacted": func(t *testing.T, path string) {
		result, err := Compact(ctx, path, nil)
		require.NoError(t, err)
		require.Less(t, result.After, result.Before)
	},
	"restored": func(t *testing.T, path string) {
		backup := filepath.Join(t.TempDir(), "backup")
		o, err := Open(path, Options{})
		require.NoError(t, err)
		_, err = o.BackupFile(ctx, backup, BackupOptions{})
		require.NoError(t, errors.Join(err, o.Close()))
		_, err = Restore(ctx, backup, path, RestoreOptions{})
		require.NoError(t, err)
	},
	"removed": func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) },
}

// roomyFile makes an outbox file with free pages, one event in it.
func roomyFile(t *testing.T) (path string) {
	o, err := Open(filepath.Join(t.TempDir(), "outbox.db"), Options{})
	require.NoError(t, err)
	add(t, o, event("a", "one"))
	require.NoError(t, o.Update(ctx, func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte("large"))
		if err != nil {
			return err
		}
		return b.Put([]byte("value"), make([]byte, 1<<20))
	}))
	require.NoError(t, o.Update(ctx, func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("large")) }))
	require.NoError(t, o.Close())
	return o.Path()
}

func TestNew_RefusesADatabaseWhoseFileWasReplacedWhileItWaitedForTheLock(t *testing.T) {
	for name, replace := range replacements {
		t.Run(name, func(t *testing.T) {
			path := roomyFile(t)
			mine := filepath.Join(t.TempDir(), "mine") // a file that has another name is not made unusable
			require.NoError(t, os.Link(path, mine))
			db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: patience, OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				f, err := os.OpenFile(name, flag, mode)
				replace(t, path) // between opening and locking it
				return f, err
			}})
			require.NoError(t, err, "it has the lock of a file that nobody finds any more")
			_, err = New(db, Options{})
			require.ErrorIs(t, err, ErrFailed)
			require.ErrorContains(t, err, path)
			require.ErrorContains(t, err, "close the database and open it again")
			require.NoError(t, db.Close())

			db, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: patience})
			require.NoError(t, err)
			o, err := New(db, Options{})
			require.NoError(t, err)
			add(t, o, event("a", "two"))
			require.NoError(t, errors.Join(o.Close(), db.Close()))
			requireSound(t, path)
			requireSound(t, mine)
			require.Equal(t, []string{"one"}, ids(t, openAt(t, mine, Options{})))
		})
	}
}

func TestNew_CommitsNothingToAFileThatHasLostItsName(t *testing.T) {
	path := roomyFile(t)
	t.Chdir(filepath.Dir(path))
	db, err := bolt.Open("outbox.db", 0o600, nil)
	require.NoError(t, err)
	o, err := New(db, Options{})
	require.NoError(t, err)
	t.Chdir(t.TempDir())
	add(t, o, event("a", "two"))
	require.Equal(t, path, o.Path())
	appendByItself := func() error {
		return db.Update(func(tx *bolt.Tx) error {
			_, err := o.Append(tx, event("a", "three"))
			return err
		})
	}
	require.NoError(t, appendByItself())

	require.NoError(t, os.Rename(path, path+".away"))
	require.ErrorIs(t, appendByItself(), ErrFailed)
	_, err = o.Add(ctx, event("a", "four"))
	require.ErrorIs(t, err, ErrFailed)
	require.ErrorContains(t, err, "removed or replaced")
	require.NoError(t, errors.Join(o.Close(), db.Close()))
}

func TestNew_RefusesADatabaseThatIsClosed(t *testing.T) {
	db, err := bolt.Open(roomyFile(t), 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	_, err = New(db, Options{})
	require.ErrorIs(t, err, ErrClosed)
}

func TestOpen_ThatWaitedForTheLockOpensTheFileThatHasTheNameNow(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it sees in /proc who waits for the lock")
	}
	path := roomyFile(t)
	held, err := Open(path, Options{})
	require.NoError(t, err)
	type opened struct {
		o   *Outbox
		err error
	}
	waiter := make(chan opened)
	go func() {
		o, err := Open(path, Options{MustExist: true, LockTimeout: patience})
		waiter <- opened{o, err}
	}()
	require.Eventually(t, func() bool { return writableDescriptors(t, held.identity) == 2 }, patience, time.Millisecond)
	result := CompactResult{Before: held.identity.Size()}
	require.NoError(t, held.compact(ctx, nil, &result))
	require.Less(t, result.After, result.Before)
	require.NoError(t, held.Close())

	got := <-waiter
	require.NoError(t, got.err)
	add(t, got.o, event("a", "two"))
	_, err = Open(path, Options{LockTimeout: 1})
	require.ErrorIs(t, err, ErrLocked, "the file at the path is the one that it has")
	require.NoError(t, got.o.Close())
	requireSound(t, path)
	require.Equal(t, []string{"one", "two"}, ids(t, openAt(t, path, Options{})))
}

// writableDescriptors counts those that this process has of a file.
func writableDescriptors(t *testing.T, file os.FileInfo) (n int) {
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, entry := range entries {
		info, err := os.Stat("/proc/self/fd/" + entry.Name())
		if err != nil || !os.SameFile(info, file) {
			continue
		}
		about, _ := os.ReadFile("/proc/self/fdinfo/" + entry.Name())
		var position int64
		var flags int
		if _, err := fmt.Fscanf(strings.NewReader(string(about)), "pos:\t%d\nflags:\t%o", &position, &flags); err == nil && flags&os.O_RDWR != 0 {
			n++
		}
	}
	return n
}

func TestNew_SaysThatTheWorkingFolderIsAnotherOne(t *testing.T) {
	path := roomyFile(t)
	t.Chdir(filepath.Dir(path))
	db, err := bolt.Open("outbox.db", 0o600, nil)
	require.NoError(t, err)
	t.Chdir(t.TempDir())
	_, err = New(db, Options{})
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "open it with an absolute path")
	require.NoError(t, db.Close())
}

// Where bbolt keeps its file elsewhere one day, its lock has to do.
func TestNew_KnowsWhichFileBboltHasOpen(t *testing.T) {
	path := roomyFile(t)
	db, err := bolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	file, known := fileOf(db)
	require.True(t, known, "another version of bbolt: see fileOf")
	info, err := file.Stat()
	require.NoError(t, err)
	same, free, err := unlocked(path)
	require.NoError(t, err)
	require.False(t, free)
	require.True(t, os.SameFile(info, same))
	require.NoError(t, db.Close())
	_, free, err = unlocked(path)
	require.NoError(t, err)
	require.True(t, free)
	_, free, err = unlocked(path + ".none")
	require.NoError(t, err)
	require.True(t, free)
}
