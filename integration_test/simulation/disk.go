package simulation

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/outbox"
)

// disk is what a process has its outbox file on. While it is full, the descriptor that bbolt writes to is that of /dev/full:
// each write fails as the system has it fail, whereas reading, which bbolt does in memory, goes on. The file itself, and its
// lock, wait under another descriptor.
type disk struct {
	db   *bolt.DB // nil: it is never full
	file *os.File // that bbolt has open
	kept int      // what the descriptor was for, 0: it still is
}

// open opens the outbox of a processor that keeps it in a database of its own.
func (d *disk) open(path string, opts outbox.Options) (*outbox.Outbox, error) {
	var err error
	d.db, err = bolt.Open(path, 0o600, &bolt.Options{
		Timeout: time.Second, FreelistType: bolt.FreelistMapType, InitialMmapSize: 256 << 20,
		OpenFile: func(name string, flag int, mode os.FileMode) (f *os.File, err error) {
			d.file, err = os.OpenFile(name, flag, mode)
			return d.file, err
		}})
	if err != nil {
		return nil, err
	}
	return outbox.New(d.db, opts)
}

// close closes the file.
func (d *disk) close() error {
	if d.db == nil {
		return nil
	}
	return errors.Join(d.free(), d.db.Close())
}

// spare is how many bytes of the file are free when its disk becomes full, more than any transaction of a run writes: bbolt
// would make the file longer otherwise, which of /dev/full fails in another way than of a file on a full disk.
const spare = 2 << 20

// fill makes the disk full.
func (d *disk) fill() error {
	if d.db == nil || d.kept != 0 {
		return nil
	}
	name := []byte("spare")
	err := errors.Join(d.db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket(name)
		if err == nil {
			err = b.Put(name, make([]byte, spare))
		}
		return err
	}), d.db.Update(func(tx *bolt.Tx) error { return tx.DeleteBucket(name) }))
	if err != nil {
		return err
	}
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer full.Close()
	if d.kept, err = syscall.Dup(int(d.file.Fd())); err != nil {
		return err
	}
	syscall.CloseOnExec(d.kept)
	return syscall.Dup3(int(full.Fd()), int(d.file.Fd()), syscall.O_CLOEXEC)
}

// free gives it room again.
func (d *disk) free() error {
	if d.kept == 0 {
		return nil
	}
	err := syscall.Dup3(d.kept, int(d.file.Fd()), syscall.O_CLOEXEC)
	err = errors.Join(err, syscall.Close(d.kept))
	d.kept = 0
	return err
}

// fillDisk makes the disk full for a while.
func (w *world) fillDisk(a Args) {
	w.diskFull = true
	w.setDisk()
	w.after(a.duration("for"), func() {
		w.diskFull = false
		w.setDisk()
	})
}

// setDisk makes the disk of the process as full as it is to be.
func (w *world) setDisk() {
	p := w.process
	if p == nil {
		return
	}
	set := p.disk.free
	if w.diskFull {
		set = p.disk.fill
	}
	if err := set(); err != nil {
		w.violate("the simulation: %v", err)
	}
}

// copySparse copies what is in a file, without its holes.
func copySparse(to, from *os.File) error {
	const seekData, seekHole = 3, 4 // of lseek(2)
	size, err := from.Seek(0, io.SeekEnd)
	if err == nil {
		err = to.Truncate(size)
	}
	for at := int64(0); err == nil; {
		var hole int64
		at, err = from.Seek(at, seekData)
		if errors.Is(err, syscall.ENXIO) { // no more of it
			return nil
		}
		if err == nil {
			hole, err = from.Seek(at, seekHole)
		}
		if err == nil {
			_, err = io.Copy(io.NewOffsetWriter(to, at), io.NewSectionReader(from, at, hole-at))
		}
		at = hole
	}
	return err
}
