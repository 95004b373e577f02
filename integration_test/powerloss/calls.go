package powerloss

import (
	"fmt"
	"strings"
)

// A Call is one system call that changes a file, a folder or a descriptor, when
// it begins or when it ends. A call that failed is none.
type Call struct {
	Process int // which of the recorded processes, from 0
	Name    string
	End     bool // it has returned; else it begins
	ID      int  // the same for begin and end

	FD      int    // of the file that it works on
	Path    string // or its path
	To      string // the second path, of a link or a rename
	Data    []byte
	Offset  int64 // of a write or seek, or the size of a truncation
	Flags   string
	Returns int64
}

// traced are the calls to record: those that the Disk knows, and those that would
// write behind its back.
const traced = "openat,close,dup,dup2,dup3,fcntl,lseek,write,pwrite64,ftruncate,fsync,fdatasync," +
	"mkdirat,linkat,unlinkat,renameat,renameat2,mmap," + unknown

const unknown = "?open,?creat,?mkdir,?rmdir,?link,?unlink,?rename,?symlink,?symlinkat,writev,pwritev,pwritev2,truncate,fallocate," +
	"sync_file_range,msync,sendfile,splice,copy_file_range,?io_uring_setup,io_submit"

// newCall reads the arguments of a call, as strace writes them.
func newCall(name string, args []string, returns int64) (*Call, error) {
	c := &Call{Name: name, FD: -1, Returns: returns}
	var err error
	switch name {
	case "openat":
		c.Path, err = c.at(args, 0)
		c.Flags = args[2]
	case "mkdirat":
		c.Path, err = c.at(args, 0)
	case "unlinkat":
		c.Path, err = c.at(args, 0)
		c.Flags = args[2]
	case "linkat", "renameat", "renameat2":
		if c.Path, err = c.at(args, 0); err == nil {
			c.To, err = c.at(args, 2)
		}
		c.Flags = strings.Join(args[4:], ",")
	case "close", "fsync", "fdatasync", "dup", "dup2", "dup3", "fcntl":
		c.FD, err = number[int](args[0])
		c.Flags = strings.Join(args[1:], ",")
	case "lseek", "ftruncate":
		if c.FD, err = number[int](args[0]); err == nil && name == "ftruncate" {
			c.Offset, err = number[int64](args[1])
		}
	case "write", "pwrite64":
		if c.FD, err = number[int](args[0]); err == nil {
			c.Data, err = unquote(args[1])
		}
		if err == nil && name == "pwrite64" {
			c.Offset, err = number[int64](args[3])
		}
	case "mmap":
		c.FD, err = number[int](args[4])
		c.Flags = args[2] + "," + args[3]
	default: // one of the unknown: the Disk says whether it matters
		c.FD, _ = number[int](args[0])
		c.Flags = strings.Join(args, ",")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// at is the path of a pair of arguments, a folder's descriptor and a path.
func (c *Call) at(args []string, i int) (string, error) {
	path, err := unquote(args[i+1])
	if err == nil && args[i] != "AT_FDCWD" && !strings.HasPrefix(string(path), "/") {
		c.FD, err = number[int](args[i])
	}
	return string(path), err
}

// duplicates says whether a call is one that makes another descriptor for the same
// file.
func (c *Call) duplicates() bool {
	return strings.HasPrefix(c.Name, "dup") || c.Name == "fcntl" && strings.HasPrefix(c.Flags, "F_DUPFD")
}
