package control

import (
	"os"
	"syscall"

	"github.com/PitchConnect/matchrelay/outbox"
)

// File says which outbox file a process has open.
type File struct {
	Path string `json:"path"` // as that process sees it
	// Device and Inode identify it, whatever the path is called elsewhere; 0 when it could not be looked at.
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
}

func newFile(box *outbox.Outbox) File {
	f := File{Path: box.Path()}
	if info, err := box.Stat(); err == nil {
		sys := info.Sys().(*syscall.Stat_t)
		f.Device, f.Inode = uint64(sys.Dev), sys.Ino
	}
	return f
}

// Is says whether a file is this one, as far as its process knows.
func (f File) Is(info os.FileInfo) bool {
	sys := info.Sys().(*syscall.Stat_t)
	return f.Inode == 0 || f.Inode == sys.Ino && f.Device == uint64(sys.Dev)
}
