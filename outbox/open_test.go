package outbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"encoding/binary"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/integration_test/stranger"
)

// child re-executes the test binary as one of children.
func child(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

func TestOpenMakesAFileThatOnlyItsOwnerReads(t *testing.T) {
	o := openAt(t, filepath.Join(t.TempDir(), "new", "folder", "outbox.db"), Options{})
	info, err := os.Stat(o.Path())
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	names, err := os.ReadDir(filepath.Dir(o.Path()))
	require.NoError(t, err)
	require.Len(t, names, 1, "nothing else is left in the folder")
}

func TestOpenTightensTheModeOfAnExistingFile(t *testing.T) {
	o := openTemp(t, Options{})
	require.NoError(t, os.Chmod(o.Path(), 0o644))
	var log bytes.Buffer
	o.opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	info, err := os.Stat(reopen(t, o).Path())
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	require.Contains(t, log.String(), "readable by others")
}

func TestOpenNeverInitialisesAFileThatExists(t *testing.T) {
	sample := openSample(t)
	require.NoError(t, sample.Close())
	whole, err := os.ReadFile(sample.Path())
	require.NoError(t, err)
	page := os.Getpagesize()
	changed := func(change func(b []byte)) []byte { b := bytes.Clone(whole); change(b); return b }
	resignMeta := func(b []byte) {
		for at := metaOffset; at < 2*page; at += page {
			sum := fnv.New64a()
			sum.Write(b[at : at+metaChecksum])
			binary.LittleEndian.PutUint64(b[at+metaChecksum:], sum.Sum64())
		}
	}
	otherBolt := func(fill func(tx *bolt.Tx) error) []byte {
		path := filepath.Join(t.TempDir(), "other.db")
		db, err := bolt.Open(path, 0o600, nil)
		require.NoError(t, err)
		require.NoError(t, db.Update(fill))
		require.NoError(t, db.Close())
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		return b
	}
	for name, tc := range map[string]struct {
		content []byte
		want    error
		text    string
	}{
		"an empty file":              {nil, ErrDamaged, "it is empty"},
		"truncated to a byte":        {whole[:1], ErrForeign, "no bbolt meta page"},
		"truncated to a page":        {whole[:page], ErrDamaged, "truncated"},
		"truncated to half":          {whole[:6*page], ErrDamaged, "truncated to 24576 of at least"},
		"a text file":                {[]byte("matches: 15\n"), ErrForeign, "no bbolt meta page"},
		"a large text file":          {bytes.Repeat([]byte("text\n"), 10_000), ErrForeign, "no bbolt meta page"},
		"both meta pages damaged":    {changed(func(b []byte) { b[metaOffset+20] ^= 1; b[page+metaOffset+20] ^= 1 }), ErrForeign, "no bbolt meta page"},
		"another version of bbolt":   {changed(func(b []byte) { b[metaOffset+4], b[page+metaOffset+4] = 3, 3; resignMeta(b) }), ErrForeign, "no bbolt meta page"},
		"a freelist that is no list": {changed(func(b []byte) { b[metaOffset+32], b[page+metaOffset+32] = 0, 0; resignMeta(b) }), ErrDamaged, "freelist"},
		"a bbolt file of another":    {otherBolt(func(tx *bolt.Tx) error { return putState(tx, "key") }), ErrForeign, "no bucket matchrelay/meta"},
		"a newer format": {otherBolt(func(tx *bolt.Tx) error {
			l := newLedger(tx)
			l.setNumber(keyFormat, Format+1)
			l.put(metaBucket, []byte(keyOrigin), []byte("origin"))
			return l.save()
		}), ErrNewerFormat, "install a newer matchrelay"},
		"an outbox without an origin": {otherBolt(func(tx *bolt.Tx) error {
			l := newLedger(tx)
			l.setNumber(keyFormat, Format)
			return l.save()
		}), ErrDamaged, "format or origin is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "outbox.db")
			require.NoError(t, os.WriteFile(path, tc.content, 0o600))
			for range 2 { // the second time shows that nothing is left locked
				_, err := Open(path, Options{LockTimeout: 1})
				require.ErrorIs(t, err, tc.want)
				require.ErrorContains(t, err, tc.text)
				require.ErrorContains(t, err, path)
			}
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			require.True(t, bytes.Equal(tc.content, after), "the file is as it was")
		})
	}
}

func TestOneDamagedMetaPageIsWhatACrashLeavesBehind(t *testing.T) {
	for _, page := range []int{0, os.Getpagesize()} {
		o := openSample(t)
		require.NoError(t, o.Close())
		f, err := os.OpenFile(o.Path(), os.O_RDWR, 0)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte{0xff}, int64(page+metaOffset+20))
		require.NoError(t, errors.Join(err, f.Close()))
		requireSound(t, o.Path())
	}
}

func TestOpenSaysWhatIsInTheWay(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	for name, tc := range map[string]struct {
		path string
		opts Options
		want error
	}{
		"a folder":                      {dir, Options{}, ErrForeign},
		"a pipe":                        {filepath.Join(dir, "fifo"), Options{}, ErrForeign},
		"no file, though it must exist": {filepath.Join(dir, "none"), Options{MustExist: true}, ErrNotFound},
		"a file as its folder":          {filepath.Join(file, "outbox.db"), Options{}, syscall.ENOTDIR},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(tc.path, tc.opts)
			require.ErrorIs(t, err, tc.want)
			require.ErrorContains(t, err, tc.path)
		})
	}
	t.Run("a working folder that is gone", func(t *testing.T) {
		gone := t.TempDir()
		t.Chdir(gone)
		require.NoError(t, os.Remove(gone))
		_, err := Open("outbox.db", Options{})
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
}

func TestOpenWithoutPermission(t *testing.T) {
	o := openTemp(t, Options{})
	add(t, o, event("a", "1"))
	require.NoError(t, o.Close())
	dir := filepath.Dir(o.Path())
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	t.Cleanup(func() { require.NoError(t, os.Chmod(o.Path(), 0o600)) })
	for name, tc := range map[string]struct {
		path string
		mode fs.FileMode
	}{
		"to read it":            {o.Path(), 0o000},
		"to write it":           {o.Path(), 0o444},
		"to make it":            {filepath.Join(dir, "new.db"), 0o600},
		"to make its own place": {filepath.Join(dir, "new", "new.db"), 0o600},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.Chmod(o.Path(), tc.mode))
			require.NoError(t, os.Chmod(dir, 0o555))
			defer os.Chmod(dir, 0o755)
			var err error
			asNobody(t, func() { _, err = Open(tc.path, Options{}) })
			require.ErrorIs(t, err, fs.ErrPermission)
		})
	}
}

// asNobody runs fn without root's right to read and write everything.
func asNobody(t *testing.T, fn func()) {
	t.Helper()
	if os.Geteuid() == 0 {
		stranger.Need(t)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		runtime.LockOSThread() // and never unlocks: the thread ends with its goroutine
		syscall.RawSyscall(syscall.SYS_SETFSUID, stranger.ID, 0, 0)
		fn()
	})
	wg.Wait()
}

func TestAFileThatIsReplacedWhileItIsOpenedIsNoticed(t *testing.T) {
	o := openTemp(t, Options{})
	stale, err := os.Stat(os.Args[0])
	require.NoError(t, err)
	other := newOutbox(o.db, o.opts)
	other.identity = stale
	require.ErrorIs(t, other.checkIdentity(), ErrFailed)
}

func TestALockedFileNamesItsHolder(t *testing.T) {
	o := openTemp(t, Options{})
	require.NoError(t, o.Close())
	holder := child("hold", o.Path())
	in, err := holder.StdinPipe()
	require.NoError(t, err)
	out, err := holder.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, holder.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "open\n", line)

	_, err = Open(o.Path(), Options{LockTimeout: 10 * time.Millisecond})
	require.ErrorIs(t, err, ErrLocked)
	var locked *LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, holder.Process.Pid, locked.PID)
	require.Equal(t, "outbox.test", locked.Command)
	require.ErrorContains(t, err, fmt.Sprintf("the file is held by process %d (outbox.test)", holder.Process.Pid))

	require.NoError(t, in.Close())
	require.NoError(t, holder.Wait())
	require.ErrorContains(t, &LockedError{}, "another process")
	info, err := os.Stat(o.Path())
	require.NoError(t, err)
	pid, _ := lockHolder(info)
	require.Zero(t, pid, "nobody holds it any more")
}

func init() {
	children["hold"] = func(args []string) error {
		o, err := Open(args[0], Options{})
		if err != nil {
			return err
		}
		fmt.Println("open")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return o.Close()
	}
	children["create"] = func(args []string) error {
		o, err := Open(args[0], Options{LockTimeout: patience})
		if err != nil {
			return err
		}
		_, err = o.Add(ctx, event("a", args[1]))
		return errors.Join(err, o.Close())
	}
}

func TestProcessesThatCreateTheFileAtOnceShareIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.db")
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			if err := child("create", path, fmt.Sprint("id-", i)).Run(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Len(t, ids(t, openAt(t, path, Options{})), 6)
}

func TestNewRefusesADatabaseThatItCannotRead(t *testing.T) {
	db, err := bolt.Open(filepath.Join(t.TempDir(), "own.db"), 0o600, nil)
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.Update(func(tx *bolt.Tx) error {
		l := newLedger(tx)
		l.setNumber(keyFormat, Format+1)
		l.put(metaBucket, []byte(keyOrigin), []byte("origin"))
		return l.save()
	}))
	_, err = New(db, Options{})
	require.ErrorIs(t, err, ErrNewerFormat)
}

func TestNew_RefusesADatabaseThatCannotKeepWhatIsAppended(t *testing.T) {
	_, err := New(nil, Options{})
	require.ErrorIs(t, err, ErrInvalid)
	path := filepath.Join(t.TempDir(), "own.db")
	for want, opts := range map[string]*bolt.Options{"NoSync": {NoSync: true}, "read only": {ReadOnly: true}} {
		db, err := bolt.Open(path, 0o600, nil)
		require.NoError(t, err)
		require.NoError(t, db.Close())
		db, err = bolt.Open(path, 0o600, opts)
		require.NoError(t, err)
		_, err = New(db, Options{})
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, want)
		require.NoError(t, db.Close())
	}
}

func TestADatabaseHasOneOutboxAtATime(t *testing.T) {
	db, err := bolt.Open(filepath.Join(t.TempDir(), "own.db"), 0o600, nil)
	require.NoError(t, err)
	defer db.Close()
	for range 2 {
		o, err := New(db, Options{})
		require.NoError(t, err)
		_, err = New(db, Options{})
		require.ErrorIs(t, err, ErrInvalid)
		require.NoError(t, o.Close())
	}
}

func TestAFileThatIsCutOffUnderOurFeet(t *testing.T) {
	for name, left := range map[string]int64{"to nothing": 0, "to two pages": 2 * int64(os.Getpagesize())} {
		t.Run(name, func(t *testing.T) {
			o, err := Open(filepath.Join(t.TempDir(), "outbox.db"), Options{})
			require.NoError(t, err)
			add(t, o, event("a", "one"))
			_, err = o.Stats(ctx)
			require.NoError(t, err)
			require.NoError(t, os.Truncate(o.Path(), left))
			_, err = o.Stats(ctx)
			require.ErrorIs(t, err, ErrDamaged)
			_, err = o.Add(ctx, event("a", "two"))
			require.ErrorIs(t, err, ErrFailed)
			report, err := o.Verify(ctx)
			require.NoError(t, err)
			require.Len(t, report.Problems, 1)
			require.ErrorContains(t, o.Err(), "was cut off to")
			require.NoError(t, o.Close(), "nothing waits for locks that a fault has left behind")
		})
	}
}
