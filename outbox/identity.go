package outbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"syscall"

	bolt "go.etcd.io/bbolt"
)

// A lock belongs to a file, not to its name. Compact and Restore give the name to another file while they hold the lock of the
// one before: a process that waits for it then gets a file that nobody finds any more, and another process may lock the one that
// has the name now.

// identify makes sure that a database of the caller's is the file at its path. From here on, only who takes no lock replaces it.
func (o *Outbox) identify() error {
	file, known := fileOf(o.db)
	if known && file == nil {
		return ErrClosed
	}
	name := o.path
	var err error
	if o.path, err = filepath.Abs(name); err != nil { // the working folder may change
		return err
	}
	if _, err := os.Stat(o.path); errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(name) {
		return invalid("the database was opened as %q, which is not there from the working folder of now: open it with an absolute path", name)
	}
	replaced := false
	if known {
		o.identity, err = file.Stat()
		replaced = err == nil && !isAt(o.identity, o.path)
	} else {
		o.identity, replaced, err = unlocked(o.path)
	}
	if err != nil {
		return err
	}
	if replaced {
		return fmt.Errorf("%w: another file has this name now, or none: it was replaced while the database waited for its lock; close the database and open it again", ErrFailed)
	}
	return nil
}

// fileOf is the file that bbolt has open and locked, nil when it is closed. bbolt itself tells no more than the name: a version
// of it that keeps the file elsewhere makes it not known.
func fileOf(db *bolt.DB) (file *os.File, known bool) {
	field := reflect.ValueOf(db).Elem().FieldByName("file")
	if !field.IsValid() || field.Type() != reflect.TypeFor[*os.File]() {
		return nil, false
	}
	return (*os.File)(field.UnsafePointer()), true
}

// retire makes a file unusable whose name another one has, durably, before its lock is released: who waits for that with no more
// than bbolt would write to a file that nobody finds any more. bbolt takes one that is neither empty nor has a meta page for no
// database. A file that has still a name, such as a hard link to it somewhere, is somebody's and stays as it is; so does one that
// must not be written to, or whose process is killed before it comes here: New refuses both.
func retire(file *os.File) {
	if info, err := file.Stat(); err == nil && info.Sys().(*syscall.Stat_t).Nlink == 0 {
		_ = file.Truncate(1)
	}
}

// unlocked says whether nobody has the file at a path locked: then it is not that of a database which is open. Another process
// may have it locked, which this does not notice.
func unlocked(path string) (info os.FileInfo, free bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer f.Close() // and its lock, if it got one
	info, err = f.Stat()
	return info, err == nil && syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil, err
}

// isAt says whether a file has the name.
func isAt(file os.FileInfo, path string) bool {
	now, err := os.Stat(path)
	return err == nil && os.SameFile(file, now)
}

// checkIdentity notices that the file was removed or replaced under our feet: a second process could then hold the lock
// of another file of the same name, and what is written here would be lost.
func (o *Outbox) checkIdentity() error {
	if isAt(o.identity, o.path) {
		return nil
	}
	if err := o.failure(); err != nil {
		return err
	}
	return o.fail(fmt.Errorf("the file %s was removed or replaced while it was open", o.path))
}
