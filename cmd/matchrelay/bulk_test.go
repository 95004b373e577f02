package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay/control"
)

// TestAStepThatHasBegunIsFinishedAndCounted interrupts a replay through the control socket while its first step waits for a
// commit.
func TestAStepThatHasBegunIsFinishedAndCounted(t *testing.T) {
	folder, err := os.MkdirTemp("", "mr")
	require.NoError(t, err)
	defer os.RemoveAll(folder)
	o, err := outbox.Open(filepath.Join(folder, "test.db"), outbox.Options{})
	require.NoError(t, err)
	defer o.Close()
	const n = 2 * outbox.StepEvents
	events, heard := make([]outbox.Event, n), outbox.Receipt{Topic: "system_alert", Through: n}
	for i := range events {
		events[i] = outbox.Event{Topic: "system_alert", MessageID: strconv.Itoa(i), Payload: []byte("x")}
		heard.Unheard = append(heard.Unheard, uint64(i+1))
	}
	_, err = o.Add(t.Context(), events...)
	require.NoError(t, err)
	position, err := o.Position(t.Context(), "system_alert")
	require.NoError(t, err)
	heard.Origin = position.Origin
	require.NoError(t, o.Settle(t.Context(), heard))
	require.NoError(t, o.Flush(t.Context()))
	serving, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- control.Serve(serving, control.Options{Outbox: o}) }()
	require.Eventually(t, func() bool {
		code, _, _ := call(t, t.Context(), nil, "healthcheck", "--db", o.Path())
		return code == exitOK
	}, redistest.Patience, 10*time.Millisecond)

	entered, leave, committed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		committed <- o.Update(context.Background(), func(*bolt.Tx) error {
			close(entered)
			<-leave
			return nil
		})
	}()
	<-entered
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	type ending struct {
		code           int
		stdout, stderr string
	}
	ended := make(chan ending, 1)
	go func() {
		code, stdout, stderr := call(t, ctx, nil, "events", "replay", "--state", "unheard", "--yes", "--db", o.Path())
		ended <- ending{code, stdout, stderr}
	}()
	require.Eventually(t, replayWaits, redistest.Patience, time.Millisecond)
	interrupt()
	close(leave)
	require.NoError(t, <-committed)
	end := <-ended
	require.Equal(t, exitPartly, end.code, end.stderr)
	require.Equal(t, "200 events appended again as #401..#600\n", end.stdout)
	require.Contains(t, end.stderr, "200 of 400 are replayed: it was interrupted; run it again for the rest")
	code, stdout, stderr := call(t, t.Context(), nil, "events", "replay", "--state", "unheard", "--yes", "--db", o.Path())
	require.Equal(t, exitOK, code, stderr)
	require.Equal(t, "200 events appended again as #601..#800\n", stdout)
	stop()
	require.NoError(t, <-served)
}

func TestARateIsNeverExceededToMakeUpForAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := filepath.Join(t.TempDir(), "test.db")
		makeOutbox(t, db)
		a := newApp(strings.NewReader(""), io.Discard, io.Discard)
		a.db, a.environ, a.envFile = db, []string{}, os.DevNull
		cfg, err := a.load(nil)
		require.NoError(t, err)
		o := &borrowed{a: a, cfg: cfg}
		require.NoError(t, o.take(t.Context()))
		const every = 30 * time.Millisecond
		var at []time.Time
		_, err = bulk[int]{
			act: func(context.Context, store, []uint64, bool) (int, error) {
				at = append(at, time.Now())
				if len(at) == 2 {
					time.Sleep(5 * every) // somebody else commits, say
				}
				return 1, nil
			},
			add:   func(total *int, part int) { *total += part },
			count: func(n int) (int, int) { return n, n },
		}.steps(t.Context(), o, []uint64{1, 2, 3, 4, 5, 6}, 1, every)
		require.NoError(t, err)
		require.NoError(t, o.giveBack())
		for i := 1; i < len(at); i++ {
			require.GreaterOrEqual(t, at[i].Sub(at[i-1]), every, "step %d", i)
		}
	})
}

func TestProgressCountsWhatWasLookedAtAndWhatWasDone(t *testing.T) {
	db := filepath.Join(t.TempDir(), "test.db")
	makeOutbox(t, db)
	code, _, stderr := call(t, t.Context(), func(a *app) {
		a.terminal = func(stream any) bool { return stream == a.stderr }
	}, "events", "replay", "--seq", "1..5", "--yes", "--db", db)
	require.Equal(t, exitPartly, code)
	require.Contains(t, stderr, "\r5 of 5 looked at, 1 replayed\n")
}

func TestATailTellsAnOlderCopyFromAPlaceThatIsNotReachedYet(t *testing.T) {
	folder, err := os.MkdirTemp("", "mr")
	require.NoError(t, err)
	defer os.RemoveAll(folder)
	db := filepath.Join(folder, "test.db")
	makeOutbox(t, db)
	o, err := outbox.Open(db, outbox.Options{})
	require.NoError(t, err)
	defer o.Close()
	serving, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- control.Serve(serving, control.Options{Outbox: o}) }()
	for _, tt := range []struct {
		known, after, goesOn uint64
		older                bool
	}{
		{known: 5, after: 99, goesOn: 99},
		{known: 5, after: 5, goesOn: 5},
		{known: 7, after: 7, goesOn: 5, older: true},
		{known: 7, after: 3, goesOn: 3, older: true},
	} {
		var stderr bytes.Buffer
		a := newApp(strings.NewReader(""), io.Discard, &stderr)
		a.db, a.environ, a.envFile = db, []string{}, os.DevNull
		cfg, err := a.load(nil)
		require.NoError(t, err)
		follower := &tail{a: a, cfg: cfg, choice: choice{Filter: outbox.Filter{After: tt.after}}, known: tt.known}
		live, err := follower.next(t.Context())
		require.NoError(t, err)
		require.NoError(t, live.Close())
		require.Equal(t, tt.goesOn, follower.choice.After)
		require.EqualValues(t, 5, follower.known)
		require.Equal(t, tt.older, strings.Contains(stderr.String(), "an older copy than before"), stderr.String())
	}
	stop()
	require.NoError(t, <-served)
}

func TestAListThatEndsEarlyIsWholeJSON(t *testing.T) {
	db := filepath.Join(t.TempDir(), "test.db")
	makeOutbox(t, db)
	for _, command := range []string{"list", "tail"} {
		ctx, cancel := context.WithCancel(t.Context())
		var out bytes.Buffer
		code, _, stderr := call(t, ctx, func(a *app) {
			a.stdout = io.MultiWriter(&out, trigger{`"sequence": 3`, cancel})
		}, "events", command, "-o", "json", "--db", db)
		require.True(t, json.Valid(out.Bytes()), out.String())
		if command == "list" {
			require.Equal(t, exitFailure, code, stderr)
		}
	}
}

// replayWaits says whether a replay waits for the outbox to take it into a commit.
func replayWaits() bool {
	stacks := make([]byte, 1<<20)
	for goroutine := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(goroutine, "(*Outbox).Replay(") && strings.Contains(goroutine, "(*Outbox).Update(") {
			return true
		}
	}
	return false
}
