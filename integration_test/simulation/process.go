package simulation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
)

// process is one life of the processor, with the file that it has open and the relay that drains it.
type process struct {
	number  int
	path    string
	box     *outbox.Outbox
	disk    disk
	relay   *drain // the one that has the right to drain the outbox; nil: none, where relays have processes of their own
	waiting bool   // no relay is at work; another one will begin

	// Where relays have processes of their own:
	socket   *socket
	stop     context.CancelFunc // ends serving it
	served   chan struct{}      // closed when that has ended
	lease    uint64             // guarded by world.wires: the number of the latest
	leasedAt time.Time          // guarded by world.wires
}

// copied is an outbox file as it was once.
type copied struct {
	file    string
	lineage lineage
	at      time.Time
	origin  string
}

// boot starts a process on the file as it is.
func (w *world) boot() {
	w.number++
	p := &process{number: w.number, path: filepath.Join(w.dir, fmt.Sprint("outbox-", w.number, ".db"))}
	if w.file != "" {
		if err := os.Rename(w.file, p.path); err != nil {
			w.violate("the simulation: %v", err)
			return
		}
	}
	if err := w.open(p); err != nil {
		w.violate("the file that a process left behind cannot be opened: %v", err)
		return
	}
	w.process, w.paused, w.booting = p, false, false
	w.setDisk()
	w.checkState()
	if w.apart() {
		w.serve(p)
	} else {
		w.startRelay(p)
	}
	w.trace("process %d runs", p.number)
}

// open opens the file of a process: as an outbox of its own, or, where its disk is full at times, in a database.
func (w *world) open(p *process) (err error) {
	s := w.schedule.Settings
	opts := outbox.Options{Retention: s.duration("retention"), MaxBytes: int64(s.number("maxbytes"))}
	if w.schedule.has("disk-full") {
		p.box, err = p.disk.open(p.path, opts)
	} else {
		p.box, err = outbox.Open(p.path, opts)
	}
	return err
}

// close closes the file.
func (p *process) close() error {
	return errors.Join(p.box.Close(), p.disk.close())
}

// kill ends the process as SIGKILL does: its file stays as it is at this moment.
func (w *world) kill() {
	p := w.process
	if p == nil {
		return
	}
	w.trace("process %d dies", p.number)
	w.file = w.copyFile(p.path)
	w.process = nil
	if w.apart() {
		w.unplug(p)
		p.stop()
	} else {
		p.relay.fence()
	}
	go func() {
		p.awaitEnd()
		_ = p.close()
		_ = os.Remove(p.path)
	}()
}

// awaitEnd returns when nothing of the process uses the outbox any more.
func (p *process) awaitEnd() {
	if p.socket != nil {
		<-p.served
	} else {
		<-p.relay.ended
	}
}

// copyFile copies a file as it is at this moment, without its holes: bbolt makes files far larger than what they hold.
func (w *world) copyFile(path string) (copied string) {
	w.copies++
	copied = filepath.Join(w.dir, fmt.Sprint("copy-", w.copies, ".db"))
	from, err := os.Open(path)
	if err != nil {
		w.violate("the simulation: %v", err)
		return ""
	}
	defer from.Close()
	to, err := os.Create(copied)
	if err == nil {
		err = errors.Join(copySparse(to, from), to.Close())
	}
	if err != nil {
		w.violate("the simulation: %v", err)
	}
	return copied
}

// bootAfter starts the process again some time after it has died.
func (w *world) bootAfter(d time.Duration) {
	if w.booting {
		return
	}
	w.booting = true
	w.after(d, func() {
		if w.process == nil {
			w.boot()
		}
	})
}

// stepped counts the calls of the outbox down to the death of the process.
func (w *world) stepped() {
	if w.dieIn > 0 {
		if w.dieIn--; w.dieIn == 0 {
			w.kill()
			w.bootAfter(w.dieFor)
			w.note()
		}
	}
}

// stopProcess ends the process as SIGTERM does, and starts it again.
func (w *world) stopProcess(a Args) {
	p := w.process
	if p == nil {
		return
	}
	w.process = nil
	w.booting = true
	w.timers++
	if w.apart() {
		p.stop()
	} else {
		p.relay.stop()
	}
	go func() {
		p.awaitEnd()
		_ = p.close() // a failure is one of the last receipts, which are sent again
		w.mu.Lock()
		defer w.mu.Unlock()
		w.timers--
		w.file = p.path
		w.booting = false
		w.bootAfter(a.duration("for"))
	}()
}

// restore puts the backup in the place of the file.
func (w *world) restore(a Args) {
	if w.backup == nil || w.process == nil {
		return
	}
	w.kill()
	w.file = w.copyFile(w.backup.file)
	w.lineage = w.backup.lineage.clone()
	w.rolledBack = append(w.rolledBack, rollback{w.backup.at, time.Now(), w.ahead()})
	w.bootAfter(a.duration("for"))
}

// ahead is a mark of Redis at an event that the file which has been put back does not know, if there is one.
func (w *world) ahead() markKey {
	for _, topic := range []string{updates, status} { // the relay's own alerts are only in the file
		key := markKey{channelOf(topic), w.backup.origin}
		m := w.server.store.marks[key].published
		known := slices.ContainsFunc(w.events, func(e appended) bool { return e.sequence == m.Sequence && e.id == m.MessageID })
		if m.Sequence != 0 && !known {
			return key
		}
	}
	return markKey{}
}
