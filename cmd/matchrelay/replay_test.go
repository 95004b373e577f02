package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/outbox"
)

func TestReplayAsksOnATerminal(t *testing.T) {
	for _, tt := range []struct {
		name, answer string
		code         int
		says         string
	}{
		{"yes", "y\n", exitOK, "1 event appended again as #6"},
		{"yes, at length", "Yes\n", exitOK, "1 event appended again as #6"},
		{"no", "n\n", exitFailure, "nothing was done"},
		{"no answer", "", exitFailure, "nothing was done"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			db := filepath.Join(t.TempDir(), "test.db")
			makeOutbox(t, db)
			code, stdout, stderr := call(t, t.Context(), func(a *app) {
				a.stdin = strings.NewReader(tt.answer)
				a.terminal = func(any) bool { return true }
			}, "events", "replay", "--state", "parked", "--db", db)
			require.Equal(t, tt.code, code)
			require.Contains(t, stderr, "Append 1 event again, to be delivered once more? [y/N]")
			require.Contains(t, stdout+stderr, tt.says)
		})
	}
}

// silent is a terminal on which no one ever types, and a context that ends when something is read from it.
func silent(t *testing.T) (ctx context.Context, stdin io.Reader) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	t.Cleanup(func() { _ = w.Close() })
	return ctx, readerFunc(func(p []byte) (int, error) {
		cancel()
		return r.Read(p)
	})
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestASignalEndsTheWaitForInput(t *testing.T) {
	db := filepath.Join(t.TempDir(), "test.db")
	makeOutbox(t, db)
	for _, args := range []string{"ingest -", "events replay --state parked"} {
		ctx, stdin := silent(t)
		code, _, stderr := call(t, ctx, func(a *app) {
			a.stdin = stdin
			a.terminal = func(any) bool { return true }
		}, append(strings.Fields(args), "--db", db)...)
		require.Equal(t, exitFailure, code, args)
		require.Contains(t, stderr, "it was interrupted: run it again", args)
	}
}

func TestPagesOfEventsReachTheirLimit(t *testing.T) {
	o, err := outbox.Open(filepath.Join(t.TempDir(), "test.db"), outbox.Options{})
	require.NoError(t, err)
	defer o.Close()
	events := make([]outbox.Event, 2*listPage+5)
	for i := range events {
		events[i] = outbox.Event{Topic: "system_alert", MessageID: time.Unix(int64(i), 0).UTC().Format("150405"), Payload: []byte("x")}
	}
	_, err = o.Add(t.Context(), events...)
	require.NoError(t, err)
	for limit, want := range map[int]int{0: len(events), 1: 1, listPage: listPage, listPage + 1: listPage + 1, 9999: len(events)} {
		n := 0
		reached, err := choice{Filter: outbox.Filter{Limit: limit}}.each(t.Context(), o, func(info outbox.Info) error {
			n++
			require.EqualValues(t, n, info.Sequence)
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, want, n)
		require.EqualValues(t, want, reached.last)
		require.Equal(t, want < len(events), reached.more)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = choice{}.each(ctx, o, func(outbox.Info) error { return nil })
	require.ErrorIs(t, err, context.Canceled)
}

// full is a stream that takes nothing, like a closed pipe.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestOutputThatCannotBeWrittenIsAnError(t *testing.T) {
	db := filepath.Join(t.TempDir(), "test.db")
	makeOutbox(t, db)
	for _, args := range []string{"events list", "events list -o json", "events list -o jsonl", "status", "status -o json",
		"events show 1 --payload", "config print -o jsonl"} {
		code, _, stderr := call(t, t.Context(), func(a *app) { a.stdout = full{} }, append(strings.Fields(args), "--db", db)...)
		require.Equal(t, exitFailure, code, args)
		require.Contains(t, stderr, "closed pipe", args)
	}
}

func TestExitCodesOfErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code int
		says string
	}{
		{errors.New("something"), exitFailure, "something"},
		{&outbox.LockedError{Path: "x", PID: 42, Command: "matchrelay"}, exitUnreachable, "held by process 42 (matchrelay); stop it first"},
		{outbox.ErrDamaged, exitUnverified, "damaged"},
		{context.Canceled, exitFailure, "run it again"},
		{exit(exitPartly, outbox.ErrNotFound), exitPartly, "not found"},
		{exit(exitUsage, nil), exitUsage, ""},
	} {
		code, message := explain(tt.err)
		require.Equal(t, tt.code, code)
		require.Contains(t, message, tt.says)
	}
}

func TestLogsOfATerminalHaveColours(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	for _, noColor := range []bool{false, true} {
		var logs bytes.Buffer
		a := newApp(nil, nil, &logs)
		a.noColor, a.environ = noColor, []string{}
		a.terminal = func(any) bool { return true }
		cfg, err := a.load(nil)
		require.NoError(t, err)
		a.logger(cfg).Warn("hello")
		require.Equal(t, !noColor, strings.Contains(logs.String(), "\x1b["), logs.String())
	}
}

func TestSizesForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1 << 10: "1.0 KiB", 3 << 19: "1.5 MiB", 5 << 30: "5.0 GiB"} {
		require.Equal(t, want, byteText(n))
	}
}
