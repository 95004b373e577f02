package main

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay/control"
	"github.com/PitchConnect/matchrelay/schema"
)

// Exit codes; doc.go says what each means.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitUnreachable = 4
	exitUnverified  = 5
	exitPartly      = 6
)

// exitError is an error that knows its exit code. Without err there is nothing left to say.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func exit(code int, err error) error { return &exitError{code, err} }

func usageError(err error) error { return exit(exitUsage, err) }

// endings are the exit codes of errors that do not know theirs, and the next step of those that do not tell it. The first
// that fits decides.
var endings = []struct {
	is   error
	code int
	next string
}{
	{config.ErrInvalid, exitUsage, ""},
	{config.ErrEnvFile, exitUsage, ""},
	{outbox.ErrLocked, exitUnreachable, ""},
	{control.ErrNotRunning, exitUnreachable, "start one with: matchrelay run, or: matchrelay relay"},
	{control.ErrOtherUser, exitUnreachable, ""},
	{errOtherOutbox, exitUnreachable, ""},
	{control.ErrNoRelay, exitUnreachable, "start one beside it with: matchrelay relay"},
	{control.ErrLeaseLost, exitUnreachable, "run it again; see who delivers with: matchrelay status"},
	{control.ErrUnsupported, exitFailure, "use the matchrelay of the version that runs there"},
	{outbox.ErrNotFound, exitNotFound, ""},
	{outbox.ErrDamaged, exitUnverified, ""},
	{changes.ErrEmptyList, exitFailure, "nothing was recorded; add --allow-empty"},
	{changes.ErrStale, exitFailure, "nothing was recorded; fetch the list again"},
	{changes.ErrNoState, exitNotFound, "record one first: matchrelay ingest FILE"},
	{changes.ErrState, exitUnverified, "restore a backup"},
	{schema.ErrMatchList, exitFailure, "correct the list; nothing was recorded"},
	{schema.ErrTooLarge, exitFailure, "let the source list fewer matches; nothing was recorded"},
	{fs.ErrNotExist, exitNotFound, "check the path"},
	{syscall.EISDIR, exitFailure, "name a file"},
	{fs.ErrPermission, exitFailure, "run as the user who owns it"},
	{context.Canceled, exitFailure, "it was interrupted: run it again"},
}

// explain returns the exit code of an error and the text for people, which ends with the next step.
func explain(err error) (code int, message string) {
	var known *exitError
	if errors.As(err, &known) {
		return known.code, err.Error()
	}
	for _, e := range endings {
		if errors.Is(err, e.is) {
			if e.next != "" {
				return e.code, err.Error() + "; " + e.next
			}
			return e.code, err.Error()
		}
	}
	return exitFailure, err.Error()
}
