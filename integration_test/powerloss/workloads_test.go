package powerloss

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

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
