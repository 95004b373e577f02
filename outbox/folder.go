package outbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// makeFolder makes a folder, and those above it that are missing, durably: a folder that a power cut takes away takes what
// is synced in it along. Each one is durable before the next is made in it, so that a process that is killed leaves one at
// most that is not, and the next process comes upon that one first.
func makeFolder(dir string) error {
	info, err := os.Stat(dir)
	parent := filepath.Dir(dir)
	switch {
	case err == nil && info.IsDir():
		return syncFound(parent)
	case err == nil:
		return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	case !errors.Is(err, fs.ErrNotExist) || parent == dir:
		return err
	}
	if err := makeFolder(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) { // another process was faster
		return err
	}
	return syncFolder(parent)
}

// syncFolder makes a new name in the folder durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	return err
}

// syncFound makes a name durable that was found in the folder, for who made it may have been killed before it could, and
// what is promised from now on stands on it. Where the folder may not be read, or its file system cannot sync folders, that
// has to be left to its maker.
func syncFound(dir string) error {
	err := syncFolder(dir)
	for _, refused := range []error{fs.ErrPermission, syscall.EINVAL, errors.ErrUnsupported} {
		if errors.Is(err, refused) {
			return nil
		}
	}
	return err
}
