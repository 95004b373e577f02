package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// recordOne makes an outbox with a list of one match.
func recordOne(t *testing.T) (db string) {
	t.Helper()
	dir := t.TempDir()
	db, file := filepath.Join(dir, "test.db"), filepath.Join(dir, "list.json")
	require.NoError(t, os.WriteFile(file, []byte(oneMatch), 0o600))
	code, _, stderr := call(t, t.Context(), nil, "ingest", file, "--db", db)
	require.Equal(t, exitOK, code, stderr)
	return db
}

func TestAResyncAsksOnATerminal(t *testing.T) {
	for _, tt := range []struct {
		name, answer string
		code         int
		says         string
	}{
		{"yes", "yes\n", exitOK, "1 match stored as event #2"},
		{"no", "n\n", exitFailure, "nothing was done"},
		{"no answer", "", exitFailure, "nothing was done"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			db := recordOne(t)
			code, stdout, stderr := call(t, t.Context(), func(a *app) {
				a.stdin = strings.NewReader(tt.answer)
				a.terminal = func(any) bool { return true }
			}, "resync", "--db", db)
			require.Equal(t, tt.code, code)
			require.Contains(t, stderr, "Send subscribers the whole list of 1 match again? [y/N]")
			require.Contains(t, stdout+stderr, tt.says)
			_, stdout, _ = call(t, t.Context(), nil, "events", "list", "-o", "jsonl", "--db", db)
			require.Equal(t, tt.code == exitOK, strings.Contains(stdout, `"sequence":2`))
		})
	}
}

func TestASignalEndsTheWaitForTheAnswerToAResync(t *testing.T) {
	ctx, stdin := silent(t)
	db := recordOne(t)
	code, _, stderr := call(t, ctx, func(a *app) {
		a.stdin = stdin
		a.terminal = func(any) bool { return true }
	}, "resync", "--db", db)
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, "it was interrupted: run it again")
}
