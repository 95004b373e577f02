package outbox

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// commitFailed tells a failure that changed nothing from one that leaves the truth open.
func (o *Outbox) commitFailed(id int, err error) error {
	full, damaged, atLimit := outOfSpace(err), errors.Is(err, ErrDamaged), errors.Is(err, berrors.ErrMaxSizeReached)
	if full || damaged || atLimit {
		// The file's newest meta page says whether the transaction is in it: it is written last.
		newest := id
		_ = survive(func() error {
			return o.db.View(func(tx *bolt.Tx) error { newest = tx.ID(); return nil })
		})
		switch {
		case newest < id && atLimit:
			return fmt.Errorf("commit: %w", fileFullError{})
		case newest < id && full:
			return fmt.Errorf("commit: %w: %w; free some space, nothing was written", ErrDiskFull, err)
		case newest < id:
			return fmt.Errorf("commit: %w; nothing was written", err)
		}
	}
	return o.fail(fmt.Errorf("commit: %w", err))
}

// outOfSpace goes by the text: where bbolt grows the file, it keeps only that of the system's error.
func outOfSpace(err error) bool {
	return strings.Contains(err.Error(), syscall.ENOSPC.Error()) || strings.Contains(err.Error(), syscall.EDQUOT.Error())
}

// fail turns the outbox failed, for good.
func (o *Outbox) fail(cause error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed = fmt.Errorf("%w: %w", ErrFailed, cause)
	o.opts.Logger.Error("outbox failed", "path", o.path, "error", cause)
	return o.failed
}

// Err is nil while the outbox can be written, else why not (ErrFailed, ErrClosed).
func (o *Outbox) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.unusable()
}

// failure is why the outbox has failed, or nil.
func (o *Outbox) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.failed
}

// unusable says why nothing can be written; the caller holds mu.
func (o *Outbox) unusable() error {
	if o.closed {
		return ErrClosed
	}
	return o.failed
}

// checkSize notices that the file was cut off under our feet, before bbolt touches a page that is not there any more: that would
// end in a panic that leaves bbolt's locks held, so that even Close would wait for ever.
func (o *Outbox) checkSize() error {
	if o.file == nil {
		return nil
	}
	before := o.size.Load() // first, for others may find it grown meanwhile
	now, err := o.file.Stat()
	if err != nil {
		return nil // it is closed, which bbolt says as well
	}
	if size := now.Size(); size < before {
		if err := o.failure(); err != nil {
			return err
		}
		return o.fail(fmt.Errorf("%w: the file %s was cut off to %d of %d bytes while it was open; restore a backup", ErrDamaged, o.path, size, before))
	} else if size > before {
		o.size.CompareAndSwap(before, size)
	}
	return nil
}

// spoil makes the closure that runs in tx fail.
func (o *Outbox) spoil(tx *bolt.Tx, err error) {
	if c := o.running.Load(); c != nil && c.ledger.tx == tx && c.err == nil {
		c.err = err
	}
}
