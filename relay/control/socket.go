package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// maxPath is how long the path of a unix socket may be: 107 bytes on Linux.
const maxPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// socket is a listener with a name of its own in the file system.
type socket struct {
	net.Listener
	path     string
	identity os.FileInfo // of the socket file
}

// bind makes the socket, in a folder that nobody else can enter and under its name only when its mode is right. What a dead
// process has left there is replaced. Errors: ErrInUse, and those of the file system.
func bind(path string) (*socket, error) {
	if err := vacate(path); err != nil {
		return nil, err
	}
	sweepFolders(filepath.Dir(path))
	folder, err := makeFolder(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	defer os.Remove(folder.Name())
	temp := filepath.Join(folder.Name(), socketName)
	if err := checkLength(path, temp); err != nil {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: temp, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false) // it would remove whatever has the name by then
	s := &socket{Listener: listener, path: path}
	if err = os.Chmod(temp, 0o600); err == nil {
		s.identity, err = os.Lstat(temp)
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return nil, errors.Join(err, listener.Close(), os.Remove(temp))
	}
	return s, nil
}

func checkLength(path, temp string) error {
	if n := max(len(path), len(temp)); n > maxPath {
		return fmt.Errorf("the path is too long for a unix socket: %d bytes, %d are the most; name a shorter one with MATCHRELAY_SOCKET, such as /run/matchrelay.sock", n, maxPath)
	}
	return nil
}

// vacate makes sure that the name is free, or that of a socket that nobody listens to.
func vacate(path string) error {
	if err := checkLength(path, ""); err != nil {
		return err
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("there is a file of that name that is no socket; remove it, or name another one with MATCHRELAY_SOCKET")
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		_ = conn.Close() // nothing was said
		return fmt.Errorf("%w; give each outbox a socket of its own with MATCHRELAY_SOCKET", ErrInUse)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("cannot tell whether somebody listens there: %w", err)
}

// remove removes the socket file, if it still is this one.
func (s *socket) remove() error {
	now, err := os.Lstat(s.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(now, s.identity) {
		return nil
	}
	if err == nil {
		err = os.Remove(s.path)
	}
	return err
}
