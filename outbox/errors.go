package outbox

import (
	"errors"
	"fmt"
)

// Errors that callers tell apart with errors.Is. Each is wrapped with what was being done and what to do next.
var (
	// ErrClosed: the outbox was closed.
	ErrClosed = errors.New("the outbox is closed")
	// ErrFailed: a commit failed in a way that leaves open whether it reached the disk, or the file was removed or
	// replaced. Nothing more is written; only opening the file again shows the truth.
	ErrFailed = errors.New("the outbox has failed and takes no more writes; restart the process to read the truth from the file")
	// ErrFull: Options.MaxBytes is reached and only undelivered events are left, or, on a 32-bit system, the file cannot grow any
	// more (which is ErrDiskFull as well). The caller's transaction rolls back whole.
	ErrFull = errors.New("the outbox is full")
	// ErrDiskFull: the disk has no room for the commit. Nothing was written; the outbox stays usable.
	ErrDiskFull = errors.New("no space left on the disk of the outbox")
	// ErrTooLarge: one event is over Options.MaxEventBytes.
	ErrTooLarge = errors.New("the event is too large")
	// ErrInvalid: an argument is not what the documentation asks for.
	ErrInvalid = errors.New("invalid argument")
	// ErrNested: Update, View or another call that waits for a transaction came from within a closure of Update, of the same
	// outbox, which would wait for itself, or of another one.
	ErrNested = errors.New("called from within an Update closure; use the transaction that the closure was given")
	// ErrNotFound: no such event, or no file where Options.MustExist asks for one.
	ErrNotFound = errors.New("not found")
	// ErrLocked: another process has the file open. The error is a *LockedError.
	ErrLocked = errors.New("the outbox file is held by another process")
	// ErrForeign: the file exists but is not an outbox: another format, or bbolt without the outbox's own buckets.
	ErrForeign = errors.New("not an outbox file")
	// ErrNewerFormat: the file was written by a newer version.
	ErrNewerFormat = errors.New("the outbox file has a newer format")
	// ErrDamaged: the file is empty, truncated, or fails its checksums.
	ErrDamaged = errors.New("the outbox file is damaged")
)

// LockedError says who has the file open, as far as the system tells.
type LockedError struct {
	Path    string
	PID     int    // 0 when unknown (another PID namespace, or not Linux)
	Command string // the program's name, without its arguments
}

func (e *LockedError) Error() string {
	who := "another process"
	if e.PID > 0 {
		who = fmt.Sprintf("process %d", e.PID)
		if e.Command != "" {
			who += " (" + e.Command + ")"
		}
	}
	return fmt.Sprintf("open outbox %s: the file is held by %s; stop it first, or use the file when it has ended", e.Path, who)
}

// Is makes errors.Is(err, ErrLocked) hold.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}
