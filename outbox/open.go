package outbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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
	owned    bool        // Close closes db
	identity os.FileInfo // of the file that is open; nil for a database of the caller's
	wake     chan struct{}

	running    atomic.Pointer[closure] // the Update closure that runs now
	runningIn  atomic.Uint64           // its goroutine, 0 when none runs
	background sync.WaitGroup          // flush timers that were started

	mu         sync.Mutex
	queue      []*call             // guarded by mu: callers that wait for the next commit
	leading    bool                // guarded by mu: somebody runs a commit and will look at the queue again
	receipts   map[string]*Receipt // guarded by mu: settled by the relay, not yet written; by topic
	flushing   bool                // guarded by mu: flushTimer is armed
	flushTimer *time.Timer         // guarded by mu
	failed     error               // guarded by mu
	closed     bool                // guarded by mu
}

// Open opens the outbox file at path and creates it, with its folder, if there is none and Options.MustExist is not set.
// The file has mode 0600, for it holds personal data.
//
// Errors: *LockedError when another process has the file; ErrNotFound; ErrDamaged for an empty or truncated file,
// ErrForeign for anything that is not an outbox, ErrNewerFormat. A file that exists is never initialised anew.
func Open(path string, opts Options) (*Outbox, error) {
	opts = opts.withDefaults()
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	_, err = os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && opts.MustExist:
		return nil, fmt.Errorf("open outbox %s: %w: there is no such file; record a match list first, or point to another file", path, ErrNotFound)
	case errors.Is(err, fs.ErrNotExist):
		err = create(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open outbox %s: %w", path, err)
	}
	if err := inspect(path); err != nil {
		return nil, fmt.Errorf("open outbox %s: %w", path, err)
	}
	db, err := openFile(path, opts.LockTimeout)
	if errors.Is(err, berrors.ErrTimeout) {
		pid, command := lockHolder(path)
		return nil, &LockedError{Path: path, PID: pid, Command: command}
	}
	if err != nil {
		return nil, fmt.Errorf("open outbox %s: %w", path, err)
	}
	o, err := open(db, opts, false)
	if err == nil {
		o.identity, err = os.Stat(path)
	}
	if err != nil {
		_ = db.Close() // nothing was written
		return nil, fmt.Errorf("open outbox %s: %w", path, err)
	}
	if mode := o.identity.Mode().Perm(); mode&0o077 != 0 {
		opts.Logger.Warn("the outbox file was readable by others; tightened to 0600", "path", path, "mode", mode.String())
		if err := os.Chmod(path, 0o600); err != nil {
			opts.Logger.Warn("cannot tighten the file mode", "path", path, "error", err)
		}
	}
	o.owned = true
	return o, nil
}

// New makes an outbox of a database that the processor has opened, and adds the outbox's buckets, all named
// "matchrelay/…", when they are not there yet. Close leaves the database open. The processor may append in transactions
// of its own (db.Update), but only those of Outbox.Update share commits and notice failed ones.
func New(db *bolt.DB, opts Options) (*Outbox, error) {
	o, err := open(db, opts.withDefaults(), true)
	if err != nil {
		return nil, fmt.Errorf("outbox in %s: %w", db.Path(), err)
	}
	return o, nil
}

func open(db *bolt.DB, opts Options, initialise bool) (*Outbox, error) {
	if initialise {
		if err := db.Update(initFormat); err != nil {
			return nil, err
		}
	}
	if err := db.View(checkFormat); err != nil {
		return nil, err
	}
	return &Outbox{
		db: db, opts: opts, path: db.Path(),
		wake:     make(chan struct{}, 1),
		receipts: map[string]*Receipt{},
	}, nil
}

func initFormat(tx *bolt.Tx) error {
	meta, err := tx.CreateBucket([]byte(metaBucket))
	if errors.Is(err, berrors.ErrBucketExists) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("initialise: %w", err)
	}
	l := &ledger{tx: tx, meta: meta}
	for key, n := range map[string]uint64{keyFormat: Format, keyEpoch: 1, keyLast: 0, keyBytes: 0} {
		if err := l.setNumber(key, n); err != nil {
			return fmt.Errorf("initialise: %w", err)
		}
	}
	return meta.Put([]byte(keyOrigin), []byte(uuid.NewString()))
}

func checkFormat(tx *bolt.Tx) error {
	l, err := openLedger(tx)
	if err != nil {
		return fmt.Errorf("%w: a bbolt file without the bucket %s; point to an outbox file, or move this one away", ErrForeign, metaBucket)
	}
	switch format := l.number(keyFormat); {
	case format == 0 || l.origin() == "":
		return fmt.Errorf("%w: format or origin is missing; restore a backup", ErrDamaged)
	case format > Format:
		return fmt.Errorf("%w: %d, this version reads up to %d; install a newer matchrelay", ErrNewerFormat, format, Format)
	}
	return nil
}

// create makes a whole outbox file and then gives it its name: a file of that name is never half made.
func create(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	temp, err := os.CreateTemp(dir, filepath.Base(path)+".new-*")
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	defer os.Remove(temp.Name())
	if err := temp.Close(); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	db, err := bolt.Open(temp.Name(), 0o600, nil)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	err = db.Update(initFormat)
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("create: %w", err)
	}
	return syncFolder(dir)
}

// syncFolder makes a new name in the folder durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// bbolt's meta page, of which pages 0 and 1 hold a copy each: page header of 16 bytes, then magic, version and page size
// (4 bytes each, little endian), flags (4), root bucket (16), freelist page (8), number of pages (8), transaction (8),
// and the FNV-1a checksum (8) of the 56 bytes before it.
const (
	boltMagic    = 0xED0CDAED
	metaOffset   = 16
	metaSize     = 64
	metaPageSize = 8
	metaPages    = 40
	metaChecksum = 56
)

// inspect looks at a file before bbolt does: bbolt initialises an empty file without a word, and a truncated one ends the
// process with SIGBUS at the first touch of a page that is not there.
func inspect(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: not a regular file", ErrForeign)
	}
	if info.Size() == 0 {
		return fmt.Errorf("%w: it is empty; restore a backup, or remove it to begin anew", ErrDamaged)
	}
	first, seen := readMeta(f, 0)
	if seen == 0 {
		seen = int64(os.Getpagesize())
	}
	second, _ := readMeta(f, seen)
	need := max(first, second)
	if need == 0 {
		return fmt.Errorf("%w: no bbolt meta page with a right checksum; point to an outbox file, or restore a backup", ErrForeign)
	}
	if info.Size() < need {
		return fmt.Errorf("%w: truncated to %d of at least %d bytes; restore a backup", ErrDamaged, info.Size(), need)
	}
	return nil
}

// readMeta reads the meta page at an offset: the bytes that the file must have, and the page size; 0 when it is not one.
func readMeta(f io.ReaderAt, at int64) (need, pageSize int64) {
	b := make([]byte, metaSize)
	if _, err := f.ReadAt(b, at+metaOffset); err != nil {
		return 0, 0
	}
	sum := fnv.New64a()
	sum.Write(b[:metaChecksum])
	if binary.LittleEndian.Uint32(b) != boltMagic || binary.LittleEndian.Uint64(b[metaChecksum:]) != sum.Sum64() {
		return 0, 0
	}
	pageSize = int64(binary.LittleEndian.Uint32(b[metaPageSize:]))
	return int64(binary.LittleEndian.Uint64(b[metaPages:])) * pageSize, pageSize
}

// openFile opens an existing bbolt file; a damaged one is an error, not the panic that bbolt makes of it.
func openFile(path string, timeout time.Duration) (db *bolt.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v; restore a backup", ErrDamaged, r)
		}
	}()
	return bolt.Open(path, 0o600, &bolt.Options{
		Timeout:         timeout,
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: 256 << 20, // address space only: growing the map would have to wait for every reader
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			return os.OpenFile(name, flag&^os.O_CREATE, mode)
		},
	})
}

// lockHolder finds the process that holds the file's lock, on Linux; 0 when it cannot be told.
func lockHolder(path string) (pid int, command string) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, ""
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, ""
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0, ""
	}
	for line := range strings.Lines(string(locks)) {
		// 1: FLOCK  ADVISORY  WRITE 1944 fe:00:9977885 0 EOF
		fields := strings.Fields(line)
		if len(fields) < 6 || fields[1] != "FLOCK" || !strings.HasSuffix(fields[5], ":"+strconv.FormatUint(stat.Ino, 10)) {
			continue
		}
		pid, _ = strconv.Atoi(fields[4])
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		return pid, strings.TrimSpace(string(name))
	}
	return 0, ""
}

// Path is the file's absolute path, as far as it is known.
func (o *Outbox) Path() string { return o.path }

// Close writes what is settled and closes the file, or only detaches from a database of the caller's. It waits for what
// is under way and may be called twice. Writers that still wait get ErrClosed.
func (o *Outbox) Close() error {
	flushErr := o.Flush(context.Background())
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return nil
	}
	o.closed = true
	if o.flushing && o.flushTimer.Stop() {
		o.background.Done()
	}
	o.mu.Unlock()
	o.background.Wait()
	if errors.Is(flushErr, ErrFailed) {
		flushErr = nil // was reported to the writer that it happened to
	}
	if !o.owned {
		return flushErr
	}
	if err := errors.Join(flushErr, o.db.Close()); err != nil {
		return fmt.Errorf("close outbox %s: %w", o.path, err)
	}
	return nil
}
