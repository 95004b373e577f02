package control

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// A socket is made in a folder of its own, <folder of the socket>/.mr<number>, as s. The folder is locked as long as its
// process works in it, which tells it from one that a killed process has left behind.
const (
	folderPrefix = ".mr"
	socketName   = "s"
	// folderAge is how old an unlocked folder must be to be nobody's: between making and locking it pass microseconds.
	folderAge = time.Minute
)

var folderPattern = regexp.MustCompile(`^\.mr[0-9]+$`)

// makeFolder makes a folder and locks it until it is closed.
func makeFolder(parent string) (*os.File, error) {
	name, err := os.MkdirTemp(parent, folderPrefix)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err == nil {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			_ = f.Close()
		}
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(name))
	}
	return f, nil
}

// sweepFolders removes what killed processes have left behind: folders that nobody has locked, are not quite fresh, and hold
// nothing but a socket.
func sweepFolders(parent string) {
	entries, _ := os.ReadDir(parent)
	for _, entry := range entries {
		if entry.IsDir() && folderPattern.MatchString(entry.Name()) {
			sweepFolder(filepath.Join(parent, entry.Name()))
		}
	}
}

func sweepFolder(name string) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || time.Since(info.ModTime()) < folderAge || syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return
	}
	left := filepath.Join(name, socketName)
	if s, err := os.Lstat(left); err == nil && s.Mode().Type() == os.ModeSocket {
		_ = os.Remove(left)
	}
	_ = os.Remove(name) // only if it is empty
}
