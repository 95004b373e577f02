package outbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

// outcome is how an Update ended for its caller.
type outcome struct {
	err      error
	panicked any
	exited   bool
}

func outcomeOf(update func() error) outcome {
	result := make(chan outcome, 1)
	go func() {
		out := outcome{exited: true}
		defer func() {
			if out.panicked = recover(); out.panicked != nil {
				out.exited = false
			}
			result <- out
		}()
		out.err = update()
		out.exited = false
	}()
	return <-result
}

func TestAClosureThatFailsIsRolledBackAlone(t *testing.T) {
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		fail func(o *Outbox, tx *bolt.Tx) error
		want func(t *testing.T, got outcome)
	}{
		"an error is that of its own caller": {
			fail: func(*Outbox, *bolt.Tx) error { return boom },
			want: func(t *testing.T, got outcome) { require.Equal(t, outcome{err: boom}, got) },
		},
		"a panic is raised again in its own caller, with the same value": {
			fail: func(*Outbox, *bolt.Tx) error { panic(boom) },
			want: func(t *testing.T, got outcome) { require.Equal(t, outcome{panicked: boom}, got) },
		},
		"runtime.Goexit ends its own caller": {
			fail: func(*Outbox, *bolt.Tx) error { runtime.Goexit(); return nil },
			want: func(t *testing.T, got outcome) { require.Equal(t, outcome{exited: true}, got) },
		},
		"a failed Append fails the closure that ignores its error": {
			fail: func(o *Outbox, tx *bolt.Tx) error { _, _ = o.Append(tx, Event{Topic: "NOT A TOPIC"}); return nil },
			want: func(t *testing.T, got outcome) { require.ErrorIs(t, got.err, ErrInvalid) },
		},
		"ending the transaction panics, for it is not the closure's": {
			fail: func(_ *Outbox, tx *bolt.Tx) error { return tx.Commit() },
			want: func(t *testing.T, got outcome) { require.Contains(t, got.panicked, "managed tx") },
		},
	} {
		for position := range 3 {
			t.Run(fmt.Sprintf("%s, as number %d of a group", name, position+1), func(t *testing.T) {
				o := openTemp(t, Options{})
				release := holdCommit(t, o)
				outcomes := make([]outcome, 3)
				var wg sync.WaitGroup
				for i := range outcomes {
					wg.Go(func() {
						outcomes[i] = outcomeOf(func() error {
							return o.Update(ctx, func(tx *bolt.Tx) error {
								if err := putState(tx, fmt.Sprint("key-", i)); err != nil {
									return err
								}
								if _, err := o.Append(tx, event("a", fmt.Sprint("id-", i))); err != nil {
									return err
								}
								if i == position {
									return tc.fail(o, tx)
								}
								return nil
							})
						})
					})
					requireQueued(t, o, i+1)
				}
				require.NoError(t, release())
				wg.Wait()

				var wantKeys, wantStates []string
				for i, got := range outcomes {
					if i == position {
						tc.want(t, got)
						continue
					}
					require.Equal(t, outcome{}, got, "the neighbours are unharmed")
					wantKeys = append(wantKeys, fmt.Sprint("key-", i))
					wantStates = append(wantStates, fmt.Sprintf("%d pending id-%d", len(wantStates)+1, i))
				}
				require.Equal(t, wantKeys, stateKeys(t, o))
				require.Equal(t, wantStates, states(t, o))
			})
		}
	}
}

func TestManyCallersShareCommitsAndKeepEveryEvent(t *testing.T) {
	o := openTemp(t, Options{})
	const callers, rounds = 64, 10
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for round := range rounds {
				id := fmt.Sprintf("%02d-%02d", caller, round)
				got := outcomeOf(func() error {
					return o.Update(ctx, func(tx *bolt.Tx) error {
						if _, err := o.Append(tx, event("a", id)); err != nil {
							return err
						}
						switch {
						case caller%16 == 1:
							return errors.New("refused")
						case caller%16 == 2:
							panic("refused")
						case caller%32 == 3:
							runtime.Goexit()
						}
						return putState(tx, id)
					})
				})
				if failed := got != (outcome{}); failed != (caller%16 == 1 || caller%16 == 2 || caller%32 == 3) {
					t.Errorf("%s: %+v", id, got)
				}
			}
		})
	}
	wg.Wait()
	kept := (callers - 4 - 4 - 2) * rounds
	require.Len(t, stateKeys(t, o), kept)
	require.ElementsMatch(t, stateKeys(t, o), ids(t, o), "state and events agree")
	require.EqualValues(t, kept, topicStats(t, o, "a").LastSequence, "sequences are dense")
}

func TestCallingTheOutboxFromWithinAClosureIsAnErrorAndNoDeadlock(t *testing.T) {
	o := openTemp(t, Options{})
	other := openTemp(t, Options{})
	nothing := func(*bolt.Tx) error { return nil }
	for name, call := range map[string]func() error{
		"Update":                      func() error { return o.Update(ctx, nothing) },
		"View":                        func() error { return o.View(nothing) },
		"Close":                       o.Close,
		"Add":                         func() error { _, err := o.Add(ctx, event("a", "id")); return err },
		"Stats":                       func() error { _, err := o.Stats(ctx); return err },
		"Add of another outbox":       func() error { _, err := other.Add(ctx, event("a", "id")); return err },
		"Update below many functions": func() error { return below(200, func() error { return o.Update(ctx, nothing) }) },
	} {
		t.Run(name, func(t *testing.T) {
			var inClosure, inHandler error
			require.NoError(t, o.Update(ctx, func(tx *bolt.Tx) error {
				inClosure = call()
				tx.OnCommit(func() { inHandler = call() })
				return nil
			}))
			require.ErrorIs(t, inClosure, ErrNested)
			require.ErrorIs(t, inHandler, ErrNested)
		})
	}
}

func below(functions int, call func() error) error {
	if functions == 0 {
		return call()
	}
	return below(functions-1, call)
}

// The mark by which leaders are known is also set by who reads mapped files of his own.
func TestAGoroutineThatPanicsOnFaultsByItselfMayCallTheOutbox(t *testing.T) {
	o := openTemp(t, Options{})
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	_, err := o.Add(ctx, event("a", "id"))
	require.NoError(t, err)
	require.True(t, debug.SetPanicOnFault(true), "it stays as it was")
}

func TestAContextCountsUntilTheClosureStarts(t *testing.T) {
	t.Run("one that has ended before the call", func(t *testing.T) {
		o := openTemp(t, Options{})
		ended, cancel := context.WithCancel(ctx)
		cancel()
		require.ErrorIs(t, o.Update(ended, func(*bolt.Tx) error { panic("must not run") }), context.Canceled)
	})
	t.Run("one that ends in the queue", func(t *testing.T) {
		o := openTemp(t, Options{})
		release := holdCommit(t, o)
		ending, cancel := context.WithCancel(ctx)
		result := make(chan error)
		go func() { result <- o.Update(ending, func(*bolt.Tx) error { panic("must not run") }) }()
		requireQueued(t, o, 1)
		cancel()
		require.ErrorIs(t, <-result, context.Canceled)
		require.NoError(t, release())
	})
	for name, err := range map[string]error{"commits": nil, "fails": errors.New("refused")} {
		t.Run("one that ends while a neighbour runs that "+name, func(t *testing.T) {
			o := openTemp(t, Options{})
			release := holdCommit(t, o)
			ending, cancel := context.WithCancel(ctx)
			neighbour, result := make(chan error, 1), make(chan error, 1)
			go func() {
				neighbour <- o.Update(ctx, func(tx *bolt.Tx) error { cancel(); return err })
			}()
			requireQueued(t, o, 1)
			go func() { result <- o.Update(ending, func(*bolt.Tx) error { panic("must not run") }) }()
			requireQueued(t, o, 2)
			require.NoError(t, release())
			require.ErrorIs(t, <-result, context.Canceled)
			require.Equal(t, err, <-neighbour)
		})
	}
	t.Run("one that ends while its closure runs changes nothing", func(t *testing.T) {
		o := openTemp(t, Options{})
		ending, cancel := context.WithCancel(ctx)
		require.NoError(t, o.Update(ending, func(tx *bolt.Tx) error { cancel(); return putState(tx, "kept") }))
		require.Equal(t, []string{"kept"}, stateKeys(t, o))
	})
}

func TestCloseWhileCallersWait(t *testing.T) {
	o := openTemp(t, Options{})
	release := holdCommit(t, o)
	var wg sync.WaitGroup
	var refused atomic.Int64
	for range 8 {
		wg.Go(func() {
			if errors.Is(o.Update(ctx, func(*bolt.Tx) error { return nil }), ErrClosed) {
				refused.Add(1)
			}
		})
	}
	requireQueued(t, o, 8)
	closed := make(chan error, 2)
	go func() { closed <- o.Close() }()
	go func() { closed <- o.Close() }()
	require.Eventually(t, func() bool { return o.Err() != nil }, patience, time.Millisecond)
	require.Empty(t, closed, "Close waits for the commit that is under way")
	require.NoError(t, release())
	wg.Wait()
	require.NoError(t, <-closed)
	require.NoError(t, <-closed)
	require.EqualValues(t, 8, refused.Load())
}

func TestAClosedOutboxTakesNothing(t *testing.T) {
	o := openTemp(t, Options{})
	require.NoError(t, o.Close())
	require.NoError(t, o.Close(), "Close may be called twice")
	require.ErrorIs(t, o.Update(ctx, func(*bolt.Tx) error { return nil }), ErrClosed)
	require.ErrorIs(t, o.View(func(*bolt.Tx) error { return nil }), ErrClosed)
	require.ErrorIs(t, o.Settle(ctx, Receipt{Topic: "a"}), ErrClosed)
	require.ErrorIs(t, o.Flush(ctx), ErrClosed)
	require.ErrorIs(t, o.Err(), ErrClosed)
	_, err := o.Prune(ctx)
	require.ErrorIs(t, err, ErrClosed)
}

func TestADatabaseThatItsOwnerClosedCountsAsClosed(t *testing.T) {
	o := openTemp(t, Options{})
	require.NoError(t, o.db.Close())
	require.ErrorIs(t, o.Update(ctx, func(*bolt.Tx) error { return nil }), ErrClosed)
	require.ErrorIs(t, o.View(func(*bolt.Tx) error { return nil }), ErrClosed)
}

func TestAPanicInACommitHandlerLeavesTheTruthToTheFile(t *testing.T) {
	o := openTemp(t, Options{})
	err := o.Update(ctx, func(tx *bolt.Tx) error {
		tx.OnCommit(func() { panic("handler") })
		_, err := o.Append(tx, event("a", "id"))
		return err
	})
	require.ErrorIs(t, err, ErrFailed)
	require.ErrorIs(t, o.Update(ctx, func(*bolt.Tx) error { return nil }), ErrFailed, "every later write")
	require.ErrorIs(t, o.db.Update(func(tx *bolt.Tx) error {
		_, err := o.Append(tx, event("a", "id-2"))
		return err
	}), ErrFailed, "and so is an append in a transaction of the caller's own")
	require.Equal(t, []string{"1 pending id"}, states(t, reopen(t, o)))
}

func TestAFileThatIsRemovedOrReplacedFailsTheOutbox(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, path string){
		"removed": func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) },
		"replaced": func(t *testing.T, path string) {
			other := openAt(t, filepath.Join(t.TempDir(), "other.db"), Options{})
			require.NoError(t, os.Rename(other.Path(), path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := openAt(t, filepath.Join(t.TempDir(), "outbox.db"), Options{})
			add(t, o, event("a", "id"))
			require.NoError(t, o.Settle(ctx, Receipt{Topic: "a", Through: 1}))
			change(t, o.Path())
			_, err := o.Add(ctx, event("a", "id-2"))
			require.ErrorIs(t, err, ErrFailed)
			require.ErrorContains(t, err, "removed or replaced")
			require.ErrorIs(t, o.Flush(ctx), ErrFailed)
			require.NoError(t, o.Close(), "it was reported to the writer")
		})
	}
}
