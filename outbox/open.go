package outbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"
	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Outbox is an open outbox. It is safe for use by many goroutines. Make one with Open or New.
type Outbox struct {
	db       *bolt.DB
	opts     Options
	path     string
	owned    bool         // Close closes db
	identity os.FileInfo  // of the file that is open
	file     *os.File     // bbolt's own, to look at; nil for a database of the caller's
	size     atomic.Int64 // of the file, when it was last looked at: it only grows

	running    atomic.Pointer[closure] // the Update closure that runs now
	background sync.WaitGroup          // the leader, and the flush timer
	room       room                    // the leader's
	closing    sync.Once
	closeErr   error // guarded by closing

	mu         sync.Mutex
	queue      []*call             // guarded by mu: callers that wait for the next commit
	leading    bool                // guarded by mu: somebody commits, and will look at the queue again
	receipts   map[string]*Receipt // guarded by mu: settled by the relay, not yet written; by topic
	settling   bool                // guarded by mu: a commit has receipts in hand
	flushing   bool                // guarded by mu: flushTimer is armed
	flushTimer *time.Timer         // guarded by mu
	stuck      bool                // guarded by mu: receipts could not be written when last tried, and a warning says so
	failed     error               // guarded by mu
	closed     bool                // guarded by mu
	appended   chan struct{}       // guarded by mu: closed by the next commit that appends; nil while nobody waits
}

// Open opens the outbox file at path and creates it, with its folder, if there is none and Options.MustExist is not set.
// The file has mode 0600, for it holds personal data.
//
// Errors: *LockedError when another process has the file; ErrNotFound; ErrDamaged for an empty or truncated file,
// ErrForeign for anything that is not an outbox, ErrNewerFormat. A file that exists is never initialised anew.
func Open(path string, opts Options) (*Outbox, error) {
	opts = opts.withDefaults()
	path, err := realPath(path)
	if err == nil {
		err = opts.checkSize()
	}
	if err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	o, err := open(path, opts)
	for err == errReplaced { // each time by another process
		o, err = open(path, opts)
	}
	if err != nil && !errors.Is(err, ErrLocked) {
		return nil, fmt.Errorf("open outbox %s: %w", path, fileError(path, err))
	}
	return o, err
}

// errReplaced: while the lock of the file was waited for, another file, or none, took its name.
var errReplaced = errors.New("the file was replaced")

// open opens what has the name now.
func open(path string, opts Options) (*Outbox, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && (opts.MustExist || opts.ReadOnly):
		return nil, fmt.Errorf("%w: there is no such file; record a match list first, or point to another file", ErrNotFound)
	case errors.Is(err, fs.ErrNotExist):
		err = create(path)
	case err == nil && !info.Mode().IsRegular():
		err = fmt.Errorf("%w: not a regular file", ErrForeign)
	}
	if err == nil {
		err = inspect(path)
	}
	if err != nil {
		return nil, err
	}
	db, file, identity, err := openFile(path, opts.LockTimeout, opts.ReadOnly)
	if identity != nil && !isAt(identity, path) { // whatever else is wrong with it
		if db != nil {
			_ = db.Close() // nothing was written
		}
		return nil, errReplaced
	}
	locked := errors.Is(err, berrors.ErrTimeout)
	if err != nil && !locked {
		return nil, err
	}
	if locked {
		pid, command := lockHolder(identity)
		return nil, &LockedError{Path: path, PID: pid, Command: command}
	}
	o := newOutbox(db, opts)
	o.owned, o.identity, o.file = true, identity, file
	err = o.checkFormat()
	if err == nil && !opts.ReadOnly { // before anything is promised; now that it is locked, no other process replaces it
		err = syncFound(filepath.Dir(path))
	}
	if err != nil {
		_ = db.Close() // nothing was written
		return nil, err
	}
	if mode := identity.Mode().Perm(); mode&0o077 != 0 && !opts.ReadOnly {
		err := os.Chmod(path, 0o600)
		opts.Logger.Warn("the outbox file was readable by others; it must have mode 0600", "path", path, "mode", mode.String(), "error", err)
	}
	return o, nil
}

// New makes an outbox of a database that the processor has opened, and adds the outbox's buckets, all named
// "matchrelay/…", when they are not there yet. Close leaves the database open. The processor may append in transactions
// of its own (db.Update), but only those of Outbox.Update share commits and notice failed ones.
//
// A database has one outbox at a time, for that counts in memory what a commit does: another one before Close is ErrInvalid. So
// is one that is read only, or was opened with NoSync, for what it acknowledges does not outlive a power cut.
//
// bbolt.Open that waits for the file while it is compacted or restored gets the one that was there before, which has lost its
// name: that is bbolt's ErrInvalid, for Compact and Restore make it unusable, or, where they could not (it has another name, a hard
// link; they were killed just then), ErrFailed of New. Open it again; control.OpenDB does so by itself.
func New(db *bolt.DB, opts Options) (*Outbox, error) {
	switch {
	case db == nil:
		return nil, fmt.Errorf("outbox: %w", invalid("the database is nil: open one with bbolt.Open"))
	case db.IsReadOnly():
		return nil, fmt.Errorf("outbox in %s: %w", db.Path(), invalid("the database is read only: open it without bbolt.Options.ReadOnly"))
	case db.NoSync:
		return nil, fmt.Errorf("outbox in %s: %w", db.Path(), invalid("the database does not sync what it commits: open it without bbolt.Options.NoSync"))
	}
	o := newOutbox(db, opts.withDefaults())
	if err := o.opts.checkSize(); err != nil {
		return nil, fmt.Errorf("outbox in %s: %w", o.path, err)
	}
	if _, taken := borrowed.LoadOrStore(db, o); taken {
		return nil, fmt.Errorf("outbox in %s: %w", o.path, invalid("the database has an outbox already: use that one, or close it first"))
	}
	err := o.identify()
	if err == nil {
		if limit := int(fileLimit); limit > 0 && (db.MaxSize <= 0 || db.MaxSize > limit) {
			db.MaxSize = limit
		}
		err = o.checkFormat()
	}
	if errors.Is(err, ErrForeign) {
		err = db.Update(initFormat)
	}
	if err != nil {
		borrowed.Delete(db)
		return nil, fmt.Errorf("outbox in %s: %w", o.path, err)
	}
	return o, nil
}

// borrowed are the callers' databases that have an outbox, by *bolt.DB.
var borrowed sync.Map

func newOutbox(db *bolt.DB, opts Options) *Outbox {
	return &Outbox{db: db, opts: opts, path: db.Path(), receipts: map[string]*Receipt{}}
}

func initFormat(tx *bolt.Tx) error {
	l := newLedger(tx)
	l.setNumber(keyFormat, Format)
	l.setNumber(keyEpoch, 1)
	l.put(metaBucket, []byte(keyOrigin), []byte(uuid.NewString()))
	return l.save()
}

func (o *Outbox) checkFormat() error {
	return o.read(func(l *ledger) error {
		switch format := l.number(keyFormat); {
		case l.err != nil:
			return l.err
		case format == 0 || l.origin() == "":
			return fmt.Errorf("%w: format or origin is missing; restore a backup", ErrDamaged)
		case format > Format:
			return fmt.Errorf("%w: %d, this version reads up to %d; install a newer matchrelay", ErrNewerFormat, format, Format)
		}
		return nil
	})
}

// realPath is the absolute path of a file, or of the one that is to be made, without symbolic links: what is made beside it
// and renamed must not take the place of a link to it.
func realPath(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real, nil
	}
	if folder, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(folder, filepath.Base(path)), nil
	}
	return path, nil // the folder is to be made, or cannot be looked at: who uses the path is told
}

// create makes a whole outbox file and then gives it its name, which is not durable yet: a file of that name is never half
// made.
func create(path string) error {
	dir := filepath.Dir(path)
	sweepDrafts(dir)
	temp := draftName(path)
	defer os.Remove(temp)
	err := makeFolder(dir)
	var db *bolt.DB
	if err == nil {
		db, err = bolt.Open(temp, 0o600, nil)
	}
	if err == nil {
		err = errors.Join(db.Update(initFormat), db.Close())
	}
	if err == nil {
		err = nameNew(temp, path)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) { // else another process was faster
		return fmt.Errorf("create: %w", err)
	}
	return nil
}

// bbolt's meta page, of which pages 0 and 1 hold a copy each: page header of 16 bytes, then magic, version and page size
// (4 bytes each, little endian), flags (4), root bucket (16), freelist page (8), number of pages (8), transaction (8),
// and the FNV-1a checksum (8) of the 56 bytes before it.
const (
	boltMagic    = 0xED0CDAED
	boltVersion  = 2
	metaOffset   = 16
	metaSize     = 64
	metaPageSize = 8
	metaPages    = 40
	metaChecksum = 56
)

// openFile opens an existing bbolt file; a damaged one is an error, not the panic that bbolt makes of it.
func openFile(path string, timeout time.Duration, readOnly bool) (db *bolt.DB, file *os.File, identity os.FileInfo, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			// Closing alone would not unlock it: bbolt's map, which only bbolt could undo, keeps the file open.
			err = errors.Join(fmt.Errorf("%w: %v; restore a backup", ErrDamaged, r),
				syscall.Flock(int(file.Fd()), syscall.LOCK_UN), file.Close())
		}
	}()
	db, err = bolt.Open(path, 0o600, &bolt.Options{
		Timeout:         timeout,
		ReadOnly:        readOnly,
		MaxSize:         int(fileLimit),
		PreLoadFreelist: true, // a writer does so always; Verify asks which pages are free
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: 256 << 20, // address space only: growing the map would have to wait for every reader
		OpenFile: func(name string, flag int, mode os.FileMode) (f *os.File, err error) {
			if file, err = os.OpenFile(name, flag&^os.O_CREATE, mode); err == nil {
				identity, err = file.Stat()
			}
			return file, err
		},
	})
	return db, file, identity, err
}

// lockHolder finds the process that holds the file's lock, on Linux; 0 when it cannot be told.
func lockHolder(file os.FileInfo) (pid int, command string) {
	inode := ":" + strconv.FormatUint(file.Sys().(*syscall.Stat_t).Ino, 10)
	locks, _ := os.ReadFile("/proc/locks")
	for line := range strings.Lines(string(locks)) {
		// 1: FLOCK  ADVISORY  WRITE 1944 fe:00:9977885 0 EOF
		fields := strings.Fields(line)
		if len(fields) > 5 && fields[1] == "FLOCK" && strings.HasSuffix(fields[5], inode) {
			pid, _ = strconv.Atoi(fields[4])
			name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			return pid, strings.TrimSpace(string(name))
		}
	}
	return 0, ""
}

// Path is the file's absolute path, as far as it is known.
func (o *Outbox) Path() string { return o.path }

// Stat describes the file that is open, as it was when it was opened, whatever has its name now.
func (o *Outbox) Stat() (os.FileInfo, error) { return o.identity, nil }

// Close writes what is settled and closes the file, or only detaches from a database of the caller's. It waits for what
// is under way and may be called several times. Writers that still wait get ErrClosed.
func (o *Outbox) Close() error {
	if inClosure() {
		return ErrNested
	}
	o.closing.Do(func() {
		if o.closeErr = o.close(); o.closeErr != nil {
			o.closeErr = fmt.Errorf("close outbox %s: %w", o.path, o.closeErr)
		}
	})
	return o.closeErr
}

func (o *Outbox) close() (err error) {
	o.mu.Lock()
	o.closed = true
	if o.flushing && o.flushTimer.Stop() {
		o.background.Done()
	}
	o.mu.Unlock()
	o.background.Wait()
	if len(o.receipts) > 0 && o.failure() == nil { // nobody else writes any more
		err = survive(func() error { return o.commit(func(*ledger) error { return nil }) })
	}
	if o.owned {
		return errors.Join(err, o.db.Close())
	}
	borrowed.Delete(o.db)
	return err
}
