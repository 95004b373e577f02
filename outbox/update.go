package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	bolt "go.etcd.io/bbolt"
)

// call is one caller of Update on its way through the queue.
type call struct {
	ctx context.Context
	fn  func(*bolt.Tx) error

	started bool // the closure ran at least once: its context no longer counts; touched by the leader only
	lead    bool // this caller is to run the next commit; guarded by Outbox.mu

	turn     chan struct{} // closed when lead is set
	done     chan struct{} // closed when err and panicked are final
	err      error
	panicked any
}

func (c *call) finish(err error) {
	c.err = err
	close(c.done)
}

// closure is the one that runs now, so that Append can make it fail.
type closure struct {
	tx  *bolt.Tx
	err error // guarded by the write transaction: only the closure's own goroutine gets here
}

// Update runs fn in a write transaction and returns when that has committed (fsync) or failed. Callers that arrive while
// a commit is in flight share the next one: nothing is added to the wait of a lone caller, and many callers together are
// limited by the disk's syncs no more.
//
// A closure that returns an error or panics is rolled back alone: the others of the same commit are run again without it.
// So fn may run several times and must capture nothing: assign results to variables outside, never add to them. fn runs
// in the goroutine of any of the callers, must not keep tx, and must not call Update or anything of the outbox but Append
// (ErrNested). A panic is raised again in its own caller. ctx counts until fn starts for the first time.
//
// Errors: fn's own, that of a failed Append in it, ctx.Err(), ErrClosed, ErrNested, ErrDiskFull (nothing was written, the
// outbox stays usable), ErrFailed.
func (o *Outbox) Update(ctx context.Context, fn func(tx *bolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if o.inClosure() {
		return ErrNested
	}
	c := &call{ctx: ctx, fn: fn, turn: make(chan struct{}), done: make(chan struct{})}
	o.mu.Lock()
	if err := o.unusable(); err != nil {
		o.mu.Unlock()
		return err
	}
	o.queue = append(o.queue, c)
	if o.leading {
		o.mu.Unlock()
		if !o.await(c) {
			return ctx.Err()
		}
	} else {
		o.leading = true
		o.mu.Unlock()
		o.leadCommit()
	}
	<-c.done
	if c.panicked != nil {
		panic(c.panicked)
	}
	return c.err
}

// await waits until the call is done, leading a commit if it is told to. It returns false when the context ended while
// the call was still in the queue, from which it is then gone.
func (o *Outbox) await(c *call) bool {
	select {
	case <-c.done:
		return true
	case <-c.turn:
	case <-c.ctx.Done():
		o.mu.Lock()
		for i, queued := range o.queue {
			if queued == c && !c.lead {
				o.queue = append(o.queue[:i], o.queue[i+1:]...)
				o.mu.Unlock()
				return false
			}
		}
		lead := c.lead
		o.mu.Unlock()
		if !lead {
			return true // a commit has taken it
		}
	}
	o.leadCommit()
	return true
}

// leadCommit takes the whole queue through one commit and hands the lead to the first of those who came meanwhile.
func (o *Outbox) leadCommit() {
	o.mu.Lock()
	batch := o.queue
	o.queue = nil
	o.mu.Unlock()
	run := &commit{o: o, batch: batch}
	// A closure may end its goroutine (runtime.Goexit, as testing.FailNow does): its neighbours must not hang.
	defer func() {
		run.abandon()
		o.mu.Lock()
		if o.leading = len(o.queue) > 0; o.leading {
			o.queue[0].lead = true
			close(o.queue[0].turn)
		}
		o.mu.Unlock()
	}()
	run.run()
}

// commit is one group of calls and their shared transaction.
type commit struct {
	o        *Outbox
	batch    []*call
	tx       *bolt.Tx
	receipts map[string]*Receipt
}

func (g *commit) run() {
	for len(g.batch) > 0 {
		if err := g.attempt(); err != nil {
			g.rollback()
			for _, c := range g.batch {
				c.finish(err)
			}
			g.batch = nil
		}
	}
}

// attempt runs every closure of the batch and commits. A call that fails on its own is answered, taken out of the batch,
// and the attempt ends early to be made again without it; an error is that of all the rest.
func (g *commit) attempt() (err error) {
	g.o.mu.Lock()
	err = g.o.unusable()
	g.o.mu.Unlock()
	if err != nil {
		return err
	}
	if err := g.o.checkIdentity(); err != nil {
		return err
	}
	if g.tx, err = g.o.db.Begin(true); err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	g.receipts = g.o.takeReceipts()
	if err := g.o.applyReceipts(g.tx, g.receipts); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	for i := 0; i < len(g.batch); i++ {
		c := g.batch[i]
		err := c.ctx.Err()
		if err == nil || c.started {
			c.started = true
			err = g.runClosure(c)
		}
		if err == nil && c.panicked == nil {
			continue
		}
		g.rollback()
		g.batch = append(g.batch[:i:i], g.batch[i+1:]...)
		c.finish(err)
		return nil
	}
	if err := g.o.commitTx(g.tx); err != nil {
		return err
	}
	g.tx, g.receipts = nil, nil
	for _, c := range g.batch {
		c.finish(nil)
	}
	g.batch = nil
	return nil
}

func (g *commit) runClosure(c *call) (err error) {
	running := &closure{tx: g.tx}
	g.o.running.Store(running)
	g.o.runningIn.Store(goroutineID())
	finished := false
	defer func() {
		g.o.runningIn.Store(0)
		g.o.running.Store(nil)
		if r := recover(); r != nil {
			c.panicked = r
		} else if !finished { // runtime.Goexit: the stack goes on unwinding into abandon
			g.batch = remove(g.batch, c)
			c.finish(errors.New("the closure ended its goroutine"))
		}
	}()
	err = c.fn(g.tx)
	finished = true
	if err == nil {
		err = running.err
	}
	return err
}

// rollback undoes the attempt; the receipts go back to be settled by the next commit.
func (g *commit) rollback() {
	if g.tx != nil {
		_ = g.tx.Rollback() // fails only when a failed commit has rolled back already
		g.tx = nil
	}
	g.o.putBackReceipts(g.receipts)
	g.receipts = nil
}

// abandon answers what run left unanswered.
func (g *commit) abandon() {
	if len(g.batch) == 0 && g.tx == nil {
		return
	}
	g.rollback()
	for _, c := range g.batch {
		c.finish(errors.New("commit abandoned: another closure of the same commit ended its goroutine; nothing was written, try again"))
	}
}

func remove(batch []*call, c *call) []*call {
	kept := make([]*call, 0, len(batch))
	for _, other := range batch {
		if other != c {
			kept = append(kept, other)
		}
	}
	return kept
}

// commitTx commits and tells a failure that changed nothing from one that leaves the truth open.
func (o *Outbox) commitTx(tx *bolt.Tx) error {
	id := tx.ID()
	err := tx.Commit()
	if err == nil {
		return nil
	}
	_ = tx.Rollback() // some failures of Commit leave this to the caller
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		// The file's newest meta page says whether the transaction is in it: it is written last.
		newest := id
		_ = o.db.View(func(tx *bolt.Tx) error { newest = tx.ID(); return nil })
		if newest < id {
			return fmt.Errorf("commit: %w: %w; free some space, nothing was written", ErrDiskFull, err)
		}
	}
	return o.fail(fmt.Errorf("commit: %w", err))
}

// fail turns the outbox failed, for good.
func (o *Outbox) fail(cause error) error {
	err := fmt.Errorf("%w: %w", ErrFailed, cause)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed == nil {
		o.failed = err
		o.opts.Logger.Error("outbox failed", "path", o.path, "error", cause)
	}
	return o.failed
}

// Err is nil while the outbox can be written, else why not (ErrFailed, ErrClosed).
func (o *Outbox) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.unusable()
}

// unusable says why nothing can be written; the caller holds mu.
func (o *Outbox) unusable() error {
	if o.closed {
		return ErrClosed
	}
	return o.failed
}

// checkIdentity notices that the file was removed or replaced under our feet: a second process could then hold the lock
// of another file of the same name, and what is written here would be lost.
func (o *Outbox) checkIdentity() error {
	if o.identity == nil {
		return nil
	}
	now, err := os.Stat(o.path)
	if err == nil && os.SameFile(o.identity, now) {
		return nil
	}
	return o.fail(fmt.Errorf("the file %s was removed or replaced while it was open", o.path))
}

// spoil makes the closure that runs in tx fail.
func (o *Outbox) spoil(tx *bolt.Tx, err error) {
	if c := o.running.Load(); c != nil && c.tx == tx && c.err == nil {
		c.err = err
	}
}

// inClosure says whether the calling goroutine is inside an Update closure of this outbox.
func (o *Outbox) inClosure() bool {
	running := o.runningIn.Load()
	return running != 0 && running == goroutineID()
}

// goroutineID reads the id from the first line of a stack trace, "goroutine 42 [running]:"; the runtime offers no other
// way, and without it a nested Update could only deadlock.
func goroutineID() uint64 {
	var buf [40]byte
	head := bytes.Fields(buf[:runtime.Stack(buf[:], false)])
	id, _ := strconv.ParseUint(string(head[1]), 10, 64)
	return id
}

// View runs fn in a read transaction. It must be short (the space of what is deleted meanwhile is not reused), must not
// keep anything of the transaction, and must not be called within an Update closure, where it could deadlock.
func (o *Outbox) View(fn func(tx *bolt.Tx) error) error {
	if o.inClosure() {
		return ErrNested
	}
	o.mu.Lock()
	closed := o.closed
	o.mu.Unlock()
	if closed {
		return ErrClosed
	}
	return o.db.View(fn)
}
