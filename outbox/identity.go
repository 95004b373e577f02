package outbox

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"

	bolt "go.etcd.io/bbolt"
)

// A lock belongs to a file, not to its name. Compact and Restore give the name to another file while they hold the lock of the
// one before: a process that waits for it then gets a file that nobody finds any more, and another process may lock the one that
// has the name now.

// identify makes sure that a database of the caller's is the file at its path. From here on, only who takes no lock replaces it.
func (o *Outbox) identify() error {
	file, err := fileOf(o.db)
	if err != nil {
		return err
	}
	if o.path, err = filepath.Abs(o.path); err != nil { // the working folder may change
		return err
	}
	if o.identity, err = file.Stat(); err != nil {
		return err
	}
	if !isAt(o.identity, o.path) {
		return fmt.Errorf("%w: another file has this name now, or none: it was replaced while the database waited for its lock; close the database and open it again", ErrFailed)
	}
	return nil
}

// fileOf is the file that bbolt has open and locked, of which it tells no more than the name.
func fileOf(db *bolt.DB) (*os.File, error) {
	field := reflect.ValueOf(db).Elem().FieldByName("file")
	switch {
	case !field.IsValid() || field.Type() != reflect.TypeFor[*os.File]():
		return nil, invalid("it cannot be told which file this version of bbolt has open: build with the one in matchrelay's go.mod")
	case field.IsNil():
		return nil, ErrClosed
	}
	return (*os.File)(field.UnsafePointer()), nil
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
