package outbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/google/uuid"
)

// draft is a file that is made beside the one whose name it gets when it is complete, so that there is never half a file
// of that name. Its maker holds a shared lock on it, which tells it from one that a killed process has left behind, and
// lets it be verified.
type draft struct {
	name string
	file *os.File
}

// draftAge is how long ago an unlocked draft must have been written to be nobody's: between making and locking it pass
// microseconds.
const draftAge = time.Minute

var draftSuffix = regexp.MustCompile(`\.new-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func draftName(path string) string { return path + ".new-" + uuid.NewString() }

// newDraft makes a file beside path, with mode 0600, and has it written to the disk. The caller closes it. What dead
// processes have left in the folder is removed first.
func newDraft(path string, write func(f *os.File) error) (*draft, error) {
	sweepDrafts(filepath.Dir(path))
	d := &draft{name: draftName(path)}
	var err error
	if d.file, err = os.OpenFile(d.name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		if failed := (*fs.PathError)(nil); errors.As(err, &failed) {
			failed.Path = path // the draft's name says nothing to anybody
		}
		return nil, err
	}
	if err = d.lock(); err == nil {
		err = write(d.file)
	}
	if err == nil {
		err = d.file.Sync()
	}
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// openDraft takes over a draft that was written by its name.
func openDraft(name string) (*draft, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	d := &draft{name, f}
	if err := d.lock(); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *draft) lock() error { return syscall.Flock(int(d.file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) }

// link is os.Link, but for tests.
var link = os.Link

// nameNew gives a file a name that must be free; it may keep the one that it had.
func nameNew(from, to string) error {
	err := link(from, to)
	if lacksLinks(err) {
		err = renameNew(from, to)
	}
	return err
}

// place gives the draft its name, durably: there is always either the old file or the new one. Without replace, a file of
// that name is fs.ErrExist.
func (d *draft) place(path string, replace bool) (err error) {
	if replace {
		err = os.Rename(d.name, path)
	} else {
		err = nameNew(d.name, path)
	}
	if err != nil {
		return err
	}
	return errors.Join(d.remove(), syncFolder(filepath.Dir(path)))
}

// close removes the draft, unless it was placed.
func (d *draft) close() error { return errors.Join(d.remove(), d.file.Close()) }

func (d *draft) remove() error {
	if err := os.Remove(d.name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sweepDrafts removes the drafts of a folder that killed processes have left behind: nobody has them locked, and they are
// not quite fresh. What it cannot look at stays: it is only room on the disk.
func sweepDrafts(folder string) {
	entries, _ := os.ReadDir(folder)
	for _, entry := range entries {
		if entry.Type().IsRegular() && draftSuffix.MatchString(entry.Name()) {
			sweepDraft(filepath.Join(folder, entry.Name()))
		}
	}
}

func sweepDraft(name string) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || time.Since(info.ModTime()) < draftAge || syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return
	}
	_ = os.Remove(name)
}
