package outbox

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
)

// refusals are what a file system refuses, and what to do then.
var refusals = []struct {
	errno syscall.Errno
	next  string
}{
	{syscall.EROFS, "it is mounted read-only: have it mounted for writing, or use a file elsewhere"},
	{syscall.ENOLCK, "it has no locks to give, without which a second process could write: start its lock service (NFS: rpc.statd on both sides), or keep the outbox on a local disk"},
	{syscall.EOPNOTSUPP, lacking},
	{syscall.ENOTSUP, lacking},
	{syscall.ENOSYS, lacking},
	{syscall.ENODEV, lacking},
	{syscall.EINVAL, lacking},
}

const lacking = "it lacks what an outbox needs, which is locks, memory maps, and hard links or renames that replace nothing: keep the outbox on a local disk"

// fileError tells a full disk, and what the file system of a path refuses, from everything else.
func fileError(path string, err error) error {
	if err == nil || errors.Is(err, ErrDiskFull) {
		return err
	}
	if outOfSpace(err) {
		return fmt.Errorf("%w: %w; free some space, nothing was changed", ErrDiskFull, err)
	}
	var by *fs.PathError
	named := errors.As(err, &by) && (by.Op == "stat" || by.Op == "lstat" || by.Op == "open") // it is about the name
	for _, r := range refusals {
		if errors.Is(err, r.errno) && !(named && r.next == lacking) {
			return fmt.Errorf("%w: the file system of %s%s: %s", err, filepath.Dir(path), fileSystem(filepath.Dir(path)), r.next)
		}
	}
	return err
}

// lacksLinks says whether a hard link could not be made because the file system has none, such as exFAT and CIFS.
func lacksLinks(err error) bool {
	for _, refused := range []error{syscall.EPERM, syscall.EOPNOTSUPP, syscall.ENOTSUP, syscall.ENOSYS, syscall.EMLINK} {
		if errors.Is(err, refused) {
			return true
		}
	}
	return false
}
