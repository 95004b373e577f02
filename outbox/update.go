package outbox

import (
	"context"
	"errors"
	"reflect"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// call is one caller of Update on its way through the queue.
type call struct {
	ctx     context.Context
	fn      func(*bolt.Tx) error
	apart   func(*bolt.Tx) error // instead of fn: reads between two commits
	taken   atomic.Bool          // by a leader, just before fn starts, or by the caller, who has given up
	started bool                 // fn ran at least once: ctx no longer counts; touched by the leader only

	done     chan struct{} // closed when the fields below are final
	err      error
	panicked any  // fn panicked with this
	exited   bool // fn ended its goroutine
}

// Update runs fn in a write transaction and returns when that has committed (fsync) or failed. Callers that arrive while
// a commit is in flight share the next one: nothing is added to the wait of a lone caller, and many callers together are
// limited by the disk's syncs no more.
//
// A closure that returns an error or panics is rolled back alone: the others of the same commit are run again without it.
// So fn may run several times and must capture nothing: assign results to variables outside, never add to them. fn may
// run in another goroutine, must not keep or end tx, and must not call anything of this or another outbox but Append: Update,
// View and Close from within it return ErrNested, and so they do in a handler of tx.OnCommit. A panic is raised again in its own
// caller, and so is runtime.Goexit (testing's FailNow). runtime.Goexit in a handler of tx.OnCommit undoes nothing; the handlers
// after it do not run. ctx counts until fn starts for the first time.
//
// Errors: fn's own, that of a failed Append in it, ctx.Err(), ErrClosed, ErrNested, ErrDiskFull and ErrDamaged (nothing was
// written, the outbox stays usable), ErrFailed.
func (o *Outbox) Update(ctx context.Context, fn func(tx *bolt.Tx) error) error {
	if inClosure() {
		return ErrNested
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return o.submit(&call{ctx: ctx, fn: fn})
}

// submit hands a call to the leader and waits for it.
func (o *Outbox) submit(c *call) error {
	ctx := c.ctx
	c.done = make(chan struct{})
	first, err := o.enqueue(c)
	if err != nil {
		return err
	}
	switch g := (&group{o: o, calls: []*call{c}}); {
	case !first:
	case o.owned || ctx.Done() == nil:
		o.lead(g)
	default: // a transaction of the caller of New may have bbolt's write lock, and who waits for that heeds no context
		go o.lead(g)
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		if c.taken.CompareAndSwap(false, true) {
			select {
			case <-c.done: // with an error of the outbox, which never began it
				return c.err
			default:
			}
			o.dequeue(c)
			return ctx.Err()
		}
		<-c.done
	}
	if c.panicked != nil {
		panic(c.panicked)
	}
	if c.exited {
		runtime.Goexit()
	}
	return c.err
}

// enqueue hands the call to the next commit, or says that it is the first and has to make that commit by itself.
func (o *Outbox) enqueue(c *call) (first bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.unusable(); err != nil && (c.fn != nil || o.closed) {
		return false, err
	}
	if first = !o.leading; first {
		o.leading = true
		o.background.Add(1)
	} else {
		o.queue = append(o.queue, c)
	}
	return first, nil
}

// dequeue forgets a call that was given up, unless a leader has it already.
func (o *Outbox) dequeue(c *call) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue = without(o.queue, c)
}

// View runs fn in a read transaction. It must be short (the space of what is deleted meanwhile is not reused), must not
// keep anything of the transaction, must read in its own goroutine, and must not write or close the outbox. Within an Update
// closure it returns ErrNested; where fn meets with pages that are damaged, ErrDamaged.
func (o *Outbox) View(fn func(tx *bolt.Tx) error) error {
	if inClosure() {
		return ErrNested
	}
	return o.view(fn)
}

func (o *Outbox) view(fn func(tx *bolt.Tx) error) error {
	o.mu.Lock()
	closed := o.closed
	o.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if err := o.checkSize(); err != nil {
		return err
	}
	return survive(func() error { return closedError(o.db.View(fn)) })
}

// read is View for the package's own reading.
func (o *Outbox) read(fn func(l *ledger) error) error {
	if inClosure() {
		return ErrNested
	}
	return o.view(func(tx *bolt.Tx) error {
		l := openLedger(tx)
		if err := fn(l); err != nil {
			return err
		}
		return l.err
	})
}

var errReadOnly = invalid("the outbox was opened read only")

// closedError makes ErrClosed of bbolt's error, for the caller of New may have closed the database, and ErrInvalid of that to
// a write of one that is read only.
func closedError(err error) error {
	if errors.Is(err, berrors.ErrDatabaseReadOnly) {
		return errReadOnly
	}
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}

// inClosure says whether the calling goroutine runs closures: of the same outbox, where a call would wait for itself for
// ever, or of another one, whose closures may run several times.
func inClosure() bool {
	// Leaders have this set, and hardly anybody else has: asking for it costs next to nothing.
	marked := debug.SetPanicOnFault(true)
	debug.SetPanicOnFault(marked)
	if !marked {
		return false
	}
	lead := runtime.FuncForPC(reflect.ValueOf((*Outbox).lead).Pointer()).Name()
	for function := range callers() {
		if function == lead {
			return true
		}
	}
	return false
}
