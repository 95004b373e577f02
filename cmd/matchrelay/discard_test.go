package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/outbox"
)

func TestDiscardAsksOnATerminal(t *testing.T) {
	for _, tt := range []struct {
		name, answer string
		code         int
		says         string
	}{
		{"yes", "y\n", exitOK, "\rdiscarded 1 of 1\n"},
		{"no", "n\n", exitFailure, "nothing was done"},
		{"no answer", "", exitFailure, "nothing was done"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			db := filepath.Join(t.TempDir(), "test.db")
			makeOutbox(t, db)
			code, _, stderr := call(t, t.Context(), func(a *app) {
				a.stdin = strings.NewReader(tt.answer)
				a.terminal = func(any) bool { return true }
			}, "events", "discard", "--state", "parked", "--reason", "x", "--db", db)
			require.Equal(t, tt.code, code)
			require.Contains(t, stderr, "Give 1 event up for good? [y/N]")
			require.Contains(t, stderr, tt.says)
		})
	}
}

func TestCommandsOnAHeldFileSayWhoHoldsIt(t *testing.T) {
	db := filepath.Join(t.TempDir(), "test.db")
	makeOutbox(t, db)
	o, err := outbox.Open(db, outbox.Options{})
	require.NoError(t, err)
	defer o.Close()
	for _, args := range heldCommands {
		code, stdout, stderr := call(t, t.Context(), nil, append(strings.Fields(args), "--db", db)...)
		require.Equal(t, exitUnreachable, code, "%s: %s", args, stderr)
		require.Contains(t, stderr, "held by process", args)
		require.Empty(t, stdout)
	}
}

var heldCommands = []string{"events discard --state parked --reason x --yes", "audit", "check", "compact", "backup save never-made"}

func TestTextThatPeopleTypedCannotMoveTheCursor(t *testing.T) {
	require.Equal(t, "a [2J b", oneLine("a\x1b[2J\nb"))
}
