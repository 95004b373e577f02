package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
)

func TestAProcessThatVerifiesMayCrashOrNeverEnd(t *testing.T) {
	db := filepath.Join(t.TempDir(), "test.db")
	makeOutbox(t, db)
	for _, tt := range []struct{ name, limit, says string }{
		{"crash", "1m", "reading it ended the process that did (exit status 2)"},
		{"circle", "200ms", "it was not verified within 200ms"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := call(t, t.Context(), func(a *app) { a.name = tt.name }, "check", "--timeout", tt.limit, "--db", db)
			require.Equal(t, exitUnverified, code, stderr)
			require.Contains(t, stdout, tt.says)
			require.Contains(t, stderr, "is not sound; restore a backup")
		})
	}
}

// TestTheFileIsFreeWhileItsCopyIsVerified is verified by a process that never ends.
func TestTheFileIsFreeWhileItsCopyIsVerified(t *testing.T) {
	db := filepath.Join(t.TempDir(), "test.db")
	makeOutbox(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		code, _, _ := call(t, ctx, func(a *app) { a.name = "circle" }, "backup", "save", db+".copy", "--db", db)
		ended <- code
	}()
	drafts := func() bool { found, _ := filepath.Glob(db + ".copy.new-*"); return len(found) > 0 }
	require.Eventually(t, drafts, redistest.Patience, time.Millisecond)
	o, err := outbox.Open(db, outbox.Options{MustExist: true, LockTimeout: redistest.Patience})
	require.NoError(t, err)
	require.True(t, drafts(), "the copy is still verified")
	require.NoError(t, o.Close())
	cancel()
	require.Equal(t, exitFailure, <-ended)
	require.NoFileExists(t, db+".copy")
}

func TestASignalEndsAVerification(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	began := filepath.Join(t.TempDir(), "began")
	t.Setenv(circleEnv, began)
	go func() {
		defer cancel()
		for ctx.Err() == nil {
			if _, err := os.Stat(began); err == nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	code, _, stderr := call(t, ctx, func(a *app) { a.name = "circle" }, "check")
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, "interrupted: run it again")
}

func TestRestoreAsksOnATerminal(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	for answer, code := range map[string]int{"y\n": exitOK, "n\n": exitFailure} {
		dir := t.TempDir()
		makeOutbox(t, filepath.Join(dir, "copy.db"))
		got, _, stderr := call(t, t.Context(), func(a *app) {
			a.stdin = strings.NewReader(answer)
			a.terminal = func(any) bool { return true }
		}, "backup", "restore", filepath.Join(dir, "copy.db"), "--db", filepath.Join(dir, "test.db"))
		require.Equal(t, code, got, stderr)
		require.Contains(t, stderr, "copy.db (5 events) in the place of")
	}
}
