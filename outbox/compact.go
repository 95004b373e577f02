package outbox

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/google/uuid"
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
// on any error the old one stays as it is, and so it does when the new one would not be smaller. It needs as much room as the new file takes.
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
		return CompactResult{Path: o.path}, fmt.Errorf("compact %s: %w", o.path, diskError(err))
	}
	return result, nil
}

func (o *Outbox) compact(ctx context.Context, verify VerifyFunc, result *CompactResult) error {
	draft := o.path + ".new-" + uuid.NewString()
	defer os.Remove(draft)
	if err := o.compactTo(draft); err != nil {
		return err
	}
	report, err := verify.sound(ctx, draft)
	if err != nil {
		return fmt.Errorf("the compacted copy does not verify, the file is as it was: %w", withoutDraft(err, draft, "copy"))
	}
	info, err := os.Stat(draft)
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
	return place(draft, o.path, true)
}

// compactTo writes the draft and has it on the disk when it returns.
func (o *Outbox) compactTo(draft string) error {
	// Nothing is lost with a draft: one sync at the end is enough.
	db, err := bolt.Open(draft, 0o600, &bolt.Options{NoSync: true, NoGrowSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return err
	}
	db.AllocSize = compactAlloc
	err = survive(func() error { return bolt.Compact(db, o.db, compactStep) })
	if err == nil {
		err = db.Sync()
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	f, err := os.OpenFile(draft, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	old, err := os.Open(o.path)
	if err != nil {
		return err
	}
	defer old.Close()
	return errors.Join(keepOwner(f, old), f.Sync())
}
