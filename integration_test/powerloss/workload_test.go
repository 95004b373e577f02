package powerloss

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
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

// main is the name of the outbox whose process starts again after the cut.
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

// commits is a processor's and an operator's day.
func commits(w *worker) error {
	for _, operation := range []func() error{
		w.open,
		w.several(10), w.several(10, 300), w.several(10, 300, 2000), w.several(10, 300, 2000, 40_000), w.several(200_000),
		func() error { return w.together(4, 3) },
		func() error { return w.settle(5, []uint64{2, 3}, w.flush) },
		func() error {
			return w.settle(7, nil, func() error { return commit(w.box, "with a receipt", []int{100}) })
		},
		func() error { return w.settle(8, nil, func() error { return nil }) }, // closing writes it
		w.operator,
		func() error { return w.settle(20, nil, w.flush) },
		w.prune,
		w.several(3000, 20_000), w.several(10), // into pages that are free now
		w.close, w.open,
		w.record,
		w.several(10), w.close,
	} {
		if err := operation(); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) several(sizes ...int) func() error {
	return func() error { return w.append(sizes...) }
}

// operator parks, replays, discards, and takes a new origin.
func (w *worker) operator() error {
	return errors.Join(
		w.do("park", func() error { return w.box.Park(ctx, topic, 9, outbox.Failure{Class: "poison", Text: "too large"}) }),
		w.do("replay", func() error {
			_, err := w.box.Replay(ctx, []uint64{2, 3, 9}, outbox.ReplayOptions{Actor: "me"})
			return err
		}),
		w.do("discard", func() error {
			_, err := w.box.Discard(ctx, []uint64{11, 13}, outbox.DiscardOptions{Actor: "me", Reason: "old"})
			return err
		}),
		w.do("take a new origin", func() error {
			p, err := w.box.Position(ctx, topic)
			if err == nil {
				_, err = w.box.NewOrigin(ctx, p.Origin)
			}
			return err
		}))
}

// record records a match list that changes.
func (w *worker) record() error {
	recorder, err := changes.NewRecorder(w.box, changes.Options{Now: w.clock})
	feed := fogistest.New(1, 20, w.now)
	for i := 0; err == nil && i < 3; i++ {
		err = w.do("record a match list", func() error {
			matches, err := schema.ParseMatches(feed.JSON())
			if err == nil {
				_, err = recorder.Record(ctx, matches, changes.Metadata{})
			}
			return err
		})
		feed.Next(i)
	}
	return err
}

func (w *worker) beside(name string) string { return filepath.Join(w.folder, name) }

func (w *worker) aFewCommits() error {
	return errors.Join(w.open(), w.append(100, 5000), w.append(30_000))
}

func backup(w *worker) error {
	to := w.beside("copy.db")
	file := func(name string, opts outbox.BackupOptions) error {
		return w.do(name, func() error { _, err := w.box.BackupFile(ctx, to, opts); return err }, to)
	}
	if err := errors.Join(w.aFewCommits(), file("back up", outbox.BackupOptions{Verify: outbox.VerifyFile})); err != nil {
		return err
	}
	saved := filepath.Join(filepath.Dir(w.path), "saved.db")
	return errors.Join(
		w.append(10, 20),
		file("back up again", outbox.BackupOptions{Overwrite: true}),
		w.append(10),
		w.do("save a backup", func() error {
			_, err := outbox.SaveBackup(ctx, w.path, saved, outbox.BackupOptions{}, func(to io.Writer) error { _, err := w.box.Backup(ctx, to); return err })
			return err
		}, saved),
		w.append(10), w.close())
}

// restoreOld backs up, goes on, and restores what was.
func (w *worker) restoreOld() error {
	copied := w.beside("copy.db")
	err := errors.Join(
		w.do("back up", func() error { _, err := w.box.BackupFile(ctx, copied, outbox.BackupOptions{}); return err }, copied),
		w.append(10), w.append(7000), w.close())
	if err != nil {
		return err
	}
	aside := w.path + ".before-restore-" + w.clock().UTC().Format("20060102T150405.000Z")
	return w.do("restore", func() error {
		result, err := outbox.Restore(ctx, copied, w.path, outbox.RestoreOptions{Now: w.clock})
		if err == nil && result.Aside != aside {
			err = fmt.Errorf("the old file is %s", result.Aside)
		}
		return err
	}, w.path, aside)
}

func restore(w *worker) error {
	copied, elsewhere := w.beside("copy.db"), filepath.Join(w.folder, "new", "place", "outbox.db")
	return errors.Join(
		w.aFewCommits(), w.restoreOld(), w.open(), w.append(10, 9000), w.close(),
		w.do("restore elsewhere", func() error {
			_, err := outbox.Restore(ctx, copied, elsewhere, outbox.RestoreOptions{})
			return err
		}, elsewhere))
}

func (w *worker) compact() error {
	err := errors.Join(w.settle(2, nil, w.flush), w.prune(), w.close())
	if err != nil {
		return err
	}
	return w.do("compact", func() error {
		result, err := outbox.Compact(ctx, w.path, nil)
		if err == nil && result.After >= result.Before {
			err = errors.New("it did not get smaller")
		}
		return err
	}, w.path)
}

func compact(w *worker) error {
	return errors.Join(w.aFewCommits(), w.compact(), w.open(), w.append(10, 9000), w.close())
}

const topic = "match_updates"
