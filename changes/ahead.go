package changes

import (
	"cmp"
	"context"
	"errors"

	"go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/outbox"
)

// A job is done in three steps, so that no writer waits for the second, which
// may take long: it copies what it needs out of a transaction, works on that
// without one, and writes in a transaction what has come out of it.
type job[T any] func(tx *bbolt.Tx) func(context.Context) func(tx *bbolt.Tx) (T, error)

// A version says whether what a job has read is still so: when it is the same,
// no list was recorded and no cycle began meanwhile.
type version struct {
	stored         bool   // a list was ever recorded or imported
	state          uint64 // moves when the stored list changes
	turn, recorded uint64 // one moves when a list is recorded, or a cycle begins
}

func versionOf(tx *bbolt.Tx) version {
	v := version{turn: mark(tx, turnKey), recorded: mark(tx, recordedKey)}
	if b := tx.Bucket(stateBucket); b != nil {
		v.stored, v.state = true, b.Sequence()
	}
	return v
}

// tries is how often a job is begun ahead of its transaction. When lists are
// recorded so fast that each time one comes in between, it is done within it.
const tries = 3

var errMoved = errors.New("another list was recorded meanwhile")

// ahead does a job whose result do asks for with finish, in the write
// transaction in which it runs: the first two steps are done before that. When
// finish fails the transaction does, also if do drops the error. do does not
// run where what was read is not so any more, and another try is made.
func ahead[T any](ctx context.Context, o *outbox.Outbox, j job[T], do func(tx *bbolt.Tx, finish func() (T, error)) error) error {
	for try := 1; ; try++ {
		var base version
		var work func(context.Context) func(*bbolt.Tx) (T, error)
		err := o.View(func(tx *bbolt.Tx) error {
			base, work = versionOf(tx), j(tx)
			return nil
		})
		if err != nil {
			return err
		}
		write := work(ctx)
		err = o.Update(ctx, func(tx *bbolt.Tx) error {
			if try < tries && versionOf(tx) != base {
				return errMoved
			}
			var failed error
			err := do(tx, func() (result T, err error) {
				if versionOf(tx) == base {
					result, err = write(tx)
				} else { // of what other closures of the commit have written, too: it must not outlive this one
					result, err = j(tx)(ctx)(tx)
				}
				failed = err
				return result, err
			})
			return cmp.Or(err, failed)
		})
		if !errors.Is(err, errMoved) {
			return err
		}
	}
}

// alone is what do is when a job is all that a transaction does.
func alone[T any](result *T) func(tx *bbolt.Tx, finish func() (T, error)) error {
	return func(_ *bbolt.Tx, finish func() (T, error)) (err error) {
		*result, err = finish()
		return err
	}
}

// failing is the end of a job that cannot be done.
func failing[T any](err error) func(*bbolt.Tx) (T, error) {
	return func(*bbolt.Tx) (result T, _ error) { return result, err }
}
