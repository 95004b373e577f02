package simulation

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
)

// process is one life of the processor, with the file that it has open and the relay that drains it.
type process struct {
	number  int
	path    string
	box     *outbox.Outbox
	relay   *drain // the one that has the right to drain the outbox
	waiting bool   // that one has ended, and another one will begin
}

// copied is an outbox file as it was once.
type copied struct {
	file    string
	lineage lineage
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
	s := w.schedule.Settings
	box, err := outbox.Open(p.path, outbox.Options{Retention: s.duration("retention"), MaxBytes: int64(s.number("maxbytes"))})
	if err != nil {
		w.violate("the file that a process left behind cannot be opened: %v", err)
		return
	}
	p.box, w.process, w.paused, w.booting = box, p, false, false
	w.checkState()
	w.startRelay(p)
	w.trace("process %d runs", p.number)
}

// kill ends the process as SIGKILL does: its file stays as it is at this moment.
func (w *world) kill() {
	p := w.process
	if p == nil {
		return
	}
	w.trace("process %d dies", p.number)
	w.file = w.copyFile(p.path)
	p.relay.fence()
	w.process = nil
	go func() {
		<-p.relay.ended
		_ = p.box.Close()
		_ = os.Remove(p.path)
	}()
}

// copyFile copies a file as it is at this moment.
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
		_, err = io.Copy(to, from)
		err = errors.Join(err, to.Close())
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

func (w *world) stopProcess(a Args) {
	p := w.process
	if p == nil {
		return
	}
	w.process = nil
	w.booting = true
	w.timers++
	p.relay.stop()
	go func() {
		<-p.relay.ended
		_ = p.box.Close() // a failure is one of the last receipts, which are sent again
		w.mu.Lock()
		defer w.mu.Unlock()
		w.timers--
		w.file = p.path
		w.booting = false
		w.bootAfter(a.duration("for"))
	}()
}

// restartRelay ends the relay as SIGTERM does, but not the process that has the file, and starts another one.

func (w *world) restore(a Args) {
	if w.backup == nil || w.process == nil {
		return
	}
	w.kill()
	w.file = w.copyFile(w.backup.file)
	w.lineage = w.backup.lineage.clone()
	w.rolledBack = append(w.rolledBack, time.Now())
	w.bootAfter(a.duration("for"))
}

// discard gives up some of the pending and parked events.
