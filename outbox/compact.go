package outbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// compactStep is how many bytes one transaction of Compact writes: memory, against pages that the next one frees again.
const compactStep = 64 << 20

// compactAlloc is by how many bytes the new file grows when it must; bbolt's own 16 MB would stay at its end.
const compactAlloc = 64 << 10

// CompactResult says what Compact did.
type CompactResult struct {
	Path   string `json:"path"`
	Events int    `json:"events"`
	Before int64  `json:"bytes_before"`
	After  int64  `json:"bytes_after"`
}

// Compact rewrites the file at path, which nobody may have open, without the pages that are free: bbolt's files never
// shrink by themselves. The new file is written beside the old one, verified (nil means VerifyFile), and renamed over it;
// on any error the old one stays as it is, and so it does when the new one would not be smaller. It needs as much room as
// the new file takes. Who waits for the lock of the old file meanwhile gets one that is unusable: see New.
//
// Errors: *LockedError, ErrNotFound, ErrDamaged, ErrForeign, ErrDiskFull, ctx.Err().
func Compact(ctx context.Context, path string, verify VerifyFunc) (result CompactResult, err error) {
	o, err := Open(path, Options{MustExist: true})
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	result = CompactResult{Path: o.path, Before: o.identity.Size()}
	if err := o.compact(ctx, verify, &result); err != nil {
		return CompactResult{Path: o.path}, fmt.Errorf("compact %s: %w", o.path, fileError(o.path, err))
	}
	return result, nil
}

func (o *Outbox) compact(ctx context.Context, verify VerifyFunc, result *CompactResult) error {
	sweepDrafts(filepath.Dir(o.path))
	draft, err := o.compactTo(draftName(o.path))
	if err != nil {
		return err
	}
	defer draft.close()
	report, err := verify.sound(ctx, draft.name)
	if err != nil {
		return fmt.Errorf("the compacted copy does not verify, the file is as it was: %w", withoutDraft(err, draft.name, "copy"))
	}
	info, err := draft.file.Stat()
	if err != nil {
		return err
	}
	if result.Events, result.After = report.Events, info.Size(); result.After >= result.Before {
		result.After = result.Before
		return nil
	}
	if err := o.checkIdentity(); err != nil {
		return err
	}
	if err := draft.place(o.path, true); err != nil {
		return err
	}
	retire(o.file)
	return nil
}

// compactTo makes the draft, which is on the disk when it returns.
func (o *Outbox) compactTo(name string) (d *draft, err error) {
	defer func() {
		if err != nil {
			_ = os.Remove(name)
		}
	}()
	// Nothing is lost with a draft: one sync at the end is enough.
	db, err := bolt.Open(name, 0o600, &bolt.Options{NoSync: true, NoGrowSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return nil, err
	}
	db.AllocSize = compactAlloc
	err = survive(func() error { return bolt.Compact(db, o.db, compactStep) })
	if err == nil {
		err = db.Sync()
	}
	if err = errors.Join(err, db.Close()); err != nil { // its lock is gone: ours could not be had beside it
		return nil, err
	}
	if d, err = openDraft(name); err != nil {
		return nil, err
	}
	old, err := os.Open(o.path)
	if err == nil {
		defer old.Close()
		err = errors.Join(keepOwner(d.file, old), d.file.Sync())
	}
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}
