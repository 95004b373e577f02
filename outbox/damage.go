package outbox

import (
	"fmt"
	"iter"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
)

// survive runs what reads the file's pages, and makes an error of what a damaged one ends in: a panic of bbolt, or a page that
// cannot be read at all, for which the system would end the process. It covers fn's own goroutine only; what fn itself panics
// with goes on.
func survive(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			if err = damage(r); err == nil {
				panic(r)
			}
		}
	}()
	return fn()
}

// misuse is what bbolt panics with when the program is at fault, not the file.
var misuse = []any{
	"assertion failed: tx closed",
	"assertion failed: managed tx commit not allowed",
	"assertion failed: managed tx rollback not allowed",
}

// damage makes an error of what the deferred function that calls it has recovered, or nil when that does not come of damaged
// pages.
func damage(r any) error {
	failed, _ := r.(runtime.Error)
	if _, ok := failed.(interface{ Addr() uintptr }); ok {
		return fmt.Errorf("%w: a page of it is not there; restore a backup", ErrDamaged)
	}
	// A method of a nil bucket ends in bbolt, too.
	if failed != nil && strings.Contains(failed.Error(), "nil pointer") || slices.Contains(misuse, r) || !raisedBy("go.etcd.io/bbolt") {
		return nil
	}
	return fmt.Errorf("%w: %v; restore a backup", ErrDamaged, r)
}

// raisedBy says whether the panic that is being recovered from was raised in a module.
func raisedBy(module string) bool {
	found := false
	for function := range callers() {
		if found && !strings.HasPrefix(function, "runtime.") {
			return strings.HasPrefix(function, module)
		}
		found = found || function == "runtime.gopanic"
	}
	return false
}

// callers are the functions that the calling goroutine is in, the innermost first.
func callers() iter.Seq[string] {
	return func(yield func(string) bool) {
		var pcs [64]uintptr
		for skip, n := 0, len(pcs); n == len(pcs); skip += n {
			n = runtime.Callers(skip, pcs[:])
			frames := runtime.CallersFrames(pcs[:n])
			for more := n > 0; more; {
				var frame runtime.Frame
				if frame, more = frames.Next(); !yield(frame.Function) {
					return
				}
			}
		}
	}
}
