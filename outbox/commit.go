package outbox

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// errAgain ends an attempt of a group that is to be made again without the call that failed.
var errAgain = errors.New("again")

// group is the calls that share one commit.
type group struct {
	o     *Outbox
	calls []*call
	ran   bool // every closure: what is left is the commit
}

// closure is the one that runs now, so that Append can make it fail, and finds the ledger that it shares.
type closure struct {
	ledger *ledger
	err    error // guarded by the write transaction: only the closure's own goroutine gets here
}

// ledger is that of a write transaction: the one that the closures of a commit share, or one of its own.
func (o *Outbox) ledger(tx *bolt.Tx) *ledger {
	if c := o.running.Load(); c != nil && c.ledger.tx == tx {
		return c.ledger
	}
	return openLedger(tx)
}

// lead commits a group, and has a fresh goroutine commit those who came meanwhile. A lone caller leads by itself, for a
// switch of goroutines costs about as much as everything else beside the disk. Nobody ever leads for others: one of their
// closures may end its goroutine (runtime.Goexit), which must take no caller along.
func (o *Outbox) lead(g *group) {
	// A page of a damaged file that is not there must not end the process; and inClosure knows leaders by it.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	many := len(g.calls) > 1
	defer func() {
		if many { // the first of them to wake would commit its next call alone, and the others would wait for it
			runtime.Gosched()
		}
		if g.take() {
			go o.lead(g)
		}
	}()
	g.commit()
}

// take fills the group from the queue. False: there was nothing, and nobody leads any more.
func (g *group) take() bool {
	o := g.o
	o.mu.Lock()
	defer o.mu.Unlock()
	g.calls, o.queue = append(g.calls, o.queue...), nil
	if len(g.calls) == 0 {
		o.leading = false
		o.background.Done()
	}
	return o.leading
}

// commit answers every call of the group.
func (g *group) commit() {
	for _, c := range slices.Clone(g.calls) {
		if c.apart != nil {
			g.runApart(c)
		}
	}
	returned := false
	defer func() {
		if !returned && g.ran { // a handler of tx.OnCommit has ended the goroutine: the commit is on the disk
			for _, c := range g.calls {
				c.exited = len(g.calls) == 1 // of many, it cannot be told whose handler it was
				close(c.done)
			}
			g.calls = nil
		}
	}()
	g.commitClosures()
	returned = true
}

// runApart answers a call that wants no commit.
func (g *group) runApart(c *call) {
	var tx *bolt.Tx
	err := g.o.checkSize()
	if err == nil {
		tx, err = g.o.db.Begin(!g.o.opts.ReadOnly)
	}
	if err != nil {
		g.drop(c, closedError(err))
		return
	}
	defer tx.Rollback()
	if g.start(c) {
		g.drop(c, c.apart(tx))
	}
}

func (g *group) commitClosures() {
	for len(g.calls) > 0 {
		err := g.o.Err()
		if err == nil {
			err = g.o.commit(g.runClosures)
			g.ran = false
		}
		if err == errAgain {
			continue
		}
		if errors.Is(err, ErrDamaged) && len(g.calls) > 1 { // by one of them: the others need not meet with it
			for len(g.calls) > 0 {
				alone := &group{o: g.o, calls: g.calls[:1:1]}
				g.calls = g.calls[1:]
				alone.commit()
			}
			return
		}
		for _, c := range g.calls {
			c.err = err
			close(c.done)
		}
		g.calls = nil
	}
}

func (g *group) runClosures(l *ledger) error {
	for _, c := range slices.Clone(g.calls) {
		if g.start(c) && !g.run(l, c) {
			return errAgain
		}
	}
	if g.ran = len(g.calls) > 0; !g.ran {
		return errAgain // every context has ended: no reason to write
	}
	return nil
}

// start says whether a call is to be run; one whose context has ended before leaves the group.
func (g *group) start(c *call) bool {
	switch err := c.ctx.Err(); {
	case c.started:
	case !c.taken.CompareAndSwap(false, true):
		g.calls = without(g.calls, c)
		return false
	case err != nil:
		g.drop(c, err)
		return false
	}
	c.started = true
	return true
}

// run runs one closure. One that fails is answered and leaves the group.
func (g *group) run(l *ledger, c *call) (ok bool) {
	running := &closure{ledger: l}
	g.o.running.Store(running)
	var err error
	returned := false
	defer func() {
		g.o.running.Store(nil)
		if c.panicked = recover(); c.panicked != nil {
			if err = damage(c.panicked); err != nil {
				c.panicked = nil
			}
		}
		if !ok {
			c.exited = !returned && c.panicked == nil && err == nil
			g.drop(c, err)
		}
	}()
	err = c.fn(l.tx)
	returned = true
	err = cmp.Or(err, running.err, l.err) // what the ledger has met with would stay for the others
	return err == nil
}

func (g *group) drop(c *call, err error) {
	g.calls = without(g.calls, c)
	c.err = err
	close(c.done)
}

func without(calls []*call, c *call) []*call {
	return slices.DeleteFunc(calls, func(other *call) bool { return other == c })
}

// commit writes the receipts and what fn does in one transaction. An error of fn comes back as it is.
func (o *Outbox) commit(fn func(l *ledger) error) (err error) {
	if err := cmp.Or(o.checkIdentity(), o.checkSize()); err != nil {
		return err
	}
	receipts := o.takeReceipts()
	id, appended := 0, false // of the transaction, once only its commit is left to do
	defer func() {
		if r := recover(); r != nil { // bbolt on damaged pages, or a handler of tx.OnCommit
			if err = damage(r); err == nil {
				err = o.fail(fmt.Errorf("commit: panic: %v", r))
			} else if id != 0 {
				err = o.commitFailed(id, err)
			}
		}
		if id == 0 || err != nil {
			o.putBackReceipts(receipts)
		} else {
			o.dropReceipts()
			if appended {
				o.signal()
			}
		}
	}()
	err = o.db.Update(func(tx *bolt.Tx) error {
		l := openLedger(tx)
		l.shared, l.room = true, &o.room
		o.room.block = o.room.block[:0] // bbolt keeps values until its transaction has ended
		if err := l.applyReceipts(receipts); err != nil {
			return fmt.Errorf("settle: %w", err)
		}
		if err := fn(l); err != nil {
			return err
		}
		if err := l.write(); err != nil {
			return err
		}
		id, appended = tx.ID(), l.signals
		return nil
	})
	if err != nil && id != 0 {
		return o.commitFailed(id, err)
	}
	return closedError(err)
}
