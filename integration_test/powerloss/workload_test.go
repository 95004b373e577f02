package powerloss

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/outbox"
)

// mark is what a workload says between its system calls.
type mark struct {
	Begin string `json:"begin,omitempty"` // an operation begins
	// Done: one has returned, so that what these files hold, by their sums, is promised from now on.
	Done  string            `json:"done,omitempty"`
	Holds map[string]string `json:"holds,omitempty"`
	Key   string            `json:"key,omitempty"` // of the state in outbox.db: its transaction has returned
}

// worker is a process of which the calls are recorded.
type worker struct {
	folder string
	marks  *os.File
	box    *outbox.Outbox
	path   string // of the outbox
	mu     sync.Mutex
	now    time.Time // guarded by mu
	n      int       // operations so far
}

// mainFile is the name of the outbox whose process starts again after the cut.
const mainFile = "outbox.db"

// workloads are named for what they do.
var workloads = map[string]func(w *worker) error{
	"commits": commits,
	"backup":  backup,
	"restore": restore,
	"compact": compact,
	// In two processes, the first of which is killed before it has synced the folder.
	"open, killed":    func(w *worker) error { return w.open() },
	"restore, killed": func(w *worker) error { return errors.Join(w.aFewCommits(), w.restoreOld()) },
	"compact, killed": func(w *worker) error { return errors.Join(w.aFewCommits(), w.compact()) },
	"start again":     func(w *worker) error { return errors.Join(w.open(), w.append(100), w.close()) },
}

// work runs a workload: its name, the folder, the file for marks.
func work(args []string) error {
	// Its calls are not to be recorded; writes to it are.
	marks, err := os.OpenFile(args[2], os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer marks.Close()
	w := &worker{folder: args[1], marks: marks, path: filepath.Join(args[1], "data", "of", "mine", mainFile), now: time.Now()}
	return workloads[args[0]](w)
}

func (w *worker) say(m mark) error {
	line, err := json.Marshal(m)
	if err == nil {
		_, err = w.marks.Write(append(line, '\n'))
	}
	return err
}

// do makes an operation, which promises what the files hold when it has returned.
func (w *worker) do(name string, operation func() error, files ...string) error {
	w.n++
	if err := w.say(mark{Begin: fmt.Sprintf("%s %d", name, w.n)}); err != nil {
		return err
	}
	if err := operation(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	holds := map[string]string{}
	if w.box != nil {
		files = append(files, w.path)
	}
	for _, path := range files {
		sum, err := w.sum(path)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		relative, _ := filepath.Rel(w.folder, path)
		holds[relative] = sum
	}
	return w.say(mark{Done: name, Holds: holds})
}

// sum is that of what a file holds.
func (w *worker) sum(path string) (sum string, err error) {
	if w.box == nil || path != w.path {
		h, err := readFile(path)
		return h.sum, err
	}
	return sum, w.box.View(func(tx *bolt.Tx) (err error) { sum, err = sumOf(tx); return err })
}

func (w *worker) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *worker) open() error {
	return w.do("open", func() (err error) {
		w.box, err = outbox.Open(w.path, outbox.Options{Now: w.clock})
		return err
	})
}

func (w *worker) close() error {
	return w.do("close", func() error { box := w.box; w.box = nil; return box.Close() }, w.path)
}

// append commits a transaction of as many events as there are sizes.
func (w *worker) append(sizes ...int) error {
	return w.do("append", func() error {
		return commit(w.box, fmt.Sprintf("%d-%d", os.Getpid(), w.n), sizes)
	})
}

// together has callers commit at the same time.
func (w *worker) together(callers, each int) error {
	return w.do("append together", func() error {
		errs := make(chan error, callers)
		for c := range callers {
			go func() {
				var err error
				for i := range each {
					key := fmt.Sprintf("%d-%d-caller-%d-%d", os.Getpid(), w.n, c, i)
					if err == nil {
						err = commit(w.box, key, []int{50, 800 * c})
					}
					if err == nil {
						err = w.say(mark{Key: key})
					}
				}
				errs <- err
			}()
		}
		var err error
		for range callers {
			err = errors.Join(err, <-errs)
		}
		return err
	})
}

// settle takes note of a receipt, and has it written by what comes next, or by itself. At its end nothing is under way: the
// outbox was closed.
func (w *worker) settle(through uint64, unheard []uint64, next func() error) error {
	return w.do("settle", func() error {
		p, err := w.box.Position(ctx, topic)
		if err == nil {
			err = w.box.Settle(ctx, outbox.Receipt{Topic: topic, Through: through, Unheard: unheard, Origin: p.Origin})
		}
		if err == nil {
			err = next()
		}
		if err == nil {
			err = w.box.Close()
		}
		if err == nil {
			w.box, err = outbox.Open(w.path, outbox.Options{Now: w.clock})
		}
		return err
	})
}

func (w *worker) flush() error { return w.box.Flush(ctx) }

// prune removes what is settled.
func (w *worker) prune() error {
	return w.do("prune", func() error {
		w.mu.Lock()
		w.now = w.now.Add(outbox.DefaultRetention + time.Hour)
		w.mu.Unlock()
		n, err := w.box.Prune(ctx)
		if err == nil && n == 0 {
			err = errors.New("nothing was to be pruned")
		}
		return err
	})
}

const topic = "match_updates"
