package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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

func TestASignalEndsAVerification(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
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
