package outbox

import (
	"context"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

// openOwn makes an outbox in a database of the caller's own.
func openOwn(t *testing.T) (*Outbox, *bolt.DB) {
	path := filepath.Join(t.TempDir(), "own.db")
	t.Cleanup(func() { requireSound(t, path) })
	db, err := bolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	o, err := New(db, Options{})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, o.Close())
		require.NoError(t, db.Close())
	})
	return o, db
}

// requireCancelled ends the context of a call that waits, and makes sure that it returns then.
func requireCancelled(t *testing.T, waits func() bool, call func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- call(ctx) }()
	require.Eventually(t, waits, patience, time.Millisecond)
	cancel()
	select {
	case err := <-result:
		require.ErrorIs(t, err, context.Canceled)
	case <-time.After(patience):
		require.Fail(t, "it goes on waiting")
	}
}

func TestUpdate_HeedsItsContextWhileATransactionOfTheCallersOwnIsOpen(t *testing.T) {
	ran := false
	for name, call := range map[string]func(o *Outbox, ctx context.Context) error{
		"Update": func(o *Outbox, ctx context.Context) error {
			return o.Update(ctx, func(*bolt.Tx) error { ran = true; return nil })
		},
		"Flush": func(o *Outbox, ctx context.Context) error {
			if err := o.Settle(ctx, Receipt{Topic: "a"}); err != nil {
				return err
			}
			return o.Flush(ctx)
		},
		"Verify": func(o *Outbox, ctx context.Context) error { _, err := o.Verify(ctx); return err },
	} {
		t.Run(name, func(t *testing.T) {
			o, db := openOwn(t)
			tx, err := db.Begin(true)
			require.NoError(t, err)
			defer tx.Rollback()
			requireCancelled(t, func() bool { return leads(o) }, func(ctx context.Context) error { return call(o, ctx) })
			require.NoError(t, tx.Rollback())
			require.False(t, ran)
			add(t, o, event("a", "one"))
			require.False(t, ran, "it was given up for good")
		})
	}
}

// leads says whether somebody commits.
func leads(o *Outbox) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.leading
}

func TestUpdate_HeedsItsContextUntilItsClosureStarts(t *testing.T) {
	o := openTemp(t, Options{})
	release := holdCommit(t, o)
	entered, leave := make(chan struct{}), make(chan struct{})
	var first sync.WaitGroup
	first.Go(func() {
		if err := o.Update(ctx, func(*bolt.Tx) error { close(entered); <-leave; return nil }); err != nil {
			t.Error(err)
		}
	})
	requireQueued(t, o, 1)
	ran := false
	requireCancelled(t, func() bool {
		if release != nil && queued(o) == 2 {
			require.NoError(t, release()) // and both are in the next commit
			release = nil
			<-entered
		}
		return release == nil
	}, func(ctx context.Context) error {
		return o.Update(ctx, func(*bolt.Tx) error { ran = true; return nil })
	})
	close(leave)
	first.Wait()
	add(t, o, event("a", "one"))
	require.False(t, ran)
}

func TestVerify_LetsWritersGiveUpMeanwhile(t *testing.T) {
	o := openTemp(t, Options{})
	entered, leave, verified := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		verified <- o.submit(&call{ctx: ctx, apart: func(*bolt.Tx) error { close(entered); <-leave; return nil }})
	}()
	<-entered
	requireCancelled(t, func() bool { return queued(o) == 1 }, func(ctx context.Context) error {
		_, err := o.Add(ctx, event("a", "one"))
		return err
	})
	close(leave)
	require.NoError(t, <-verified)
	require.Empty(t, ids(t, o))
}

func TestGoexitInACommitHandlerCommitsOnce(t *testing.T) {
	o := openTemp(t, Options{})
	runs := 0
	appended := o.Appended()
	got := outcomeOf(func() error {
		return o.Update(ctx, func(tx *bolt.Tx) error {
			if runs++; runs == 1 {
				tx.OnCommit(runtime.Goexit)
			}
			_, err := o.Append(tx, event("a", "one"))
			return err
		})
	})
	require.Equal(t, outcome{exited: true}, got)
	<-appended
	add(t, o, event("a", "two"))
	require.Equal(t, 1, runs)
	require.Equal(t, []string{"one", "two"}, ids(t, o))

	release := holdCommit(t, o) // and two that share a commit
	outcomes := make([]outcome, 2)
	var wg sync.WaitGroup
	for i, id := range []string{"three", "four"} {
		wg.Go(func() {
			outcomes[i] = outcomeOf(func() error {
				return o.Update(ctx, func(tx *bolt.Tx) error {
					tx.OnCommit(runtime.Goexit)
					_, err := o.Append(tx, event("a", id))
					return err
				})
			})
		})
		requireQueued(t, o, i+1)
	}
	require.NoError(t, release())
	wg.Wait()
	require.Equal(t, make([]outcome, 2), outcomes)
	require.Equal(t, []string{"one", "two", "three", "four"}, ids(t, o))
}
