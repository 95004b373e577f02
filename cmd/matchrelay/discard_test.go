package main

import (
	"context"
	"path/filepath"
	"strconv"
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
		{"yes", "y\n", exitOK, "\r1 of 1 looked at, 1 discarded\n"},
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

// trigger is a stream that calls fn when a text comes by.
type trigger struct {
	text string
	fn   func()
}

func (w trigger) Write(b []byte) (int, error) {
	if strings.Contains(string(b), w.text) {
		w.fn()
	}
	return len(b), nil
}

func TestDiscardThatIsInterruptedGoesOnWithTheRest(t *testing.T) {
	db := filepath.Join(t.TempDir(), "test.db")
	o, err := outbox.Open(db, outbox.Options{})
	require.NoError(t, err)
	events := make([]outbox.Event, 1000)
	for i := range events {
		events[i] = outbox.Event{Topic: "system_alert", MessageID: strconv.Itoa(i), Payload: []byte("x")}
	}
	_, err = o.Add(t.Context(), events...)
	require.NoError(t, err)
	require.NoError(t, o.Close())
	args := []string{"events", "discard", "--state", "pending", "--reason", "x", "--yes", "--db", db}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	code, stdout, _ := call(t, ctx, func(a *app) {
		a.terminal = func(any) bool { return true }
		a.stderr = trigger{"400 of 1000 looked at, 400 discarded", interrupt}
	}, args...)
	require.Equal(t, exitPartly, code)
	require.Equal(t, "400 events discarded\n", stdout)
	code, stdout, stderr := call(t, t.Context(), nil, args...)
	require.Equal(t, exitOK, code)
	require.Equal(t, "600 events discarded\n", stdout)
	require.Empty(t, stderr, "no terminal, no progress")
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
	db := filepath.Join(t.TempDir(), "test.db")
	o, err := outbox.Open(db, outbox.Options{})
	require.NoError(t, err)
	_, err = o.Add(t.Context(), outbox.Event{Topic: "system_alert", MessageID: "id", Payload: []byte("x")})
	require.NoError(t, err)
	require.NoError(t, o.Park(t.Context(), "system_alert", 1, outbox.Failure{Attempts: 1, Class: "poison", Text: "ERR\x1b]0;title\a\rgone"}))
	require.NoError(t, o.Close())
	for _, args := range []string{"events list", "events show 1"} {
		code, stdout, stderr := call(t, t.Context(), nil, append(strings.Fields(args), "--db", db)...)
		require.Equal(t, exitOK, code, stderr)
		require.Contains(t, stdout, "ERR ]0;title  gone")
		require.NotContains(t, stdout, "\x1b", args)
		require.NotContains(t, stdout, "\r", args)
	}
}
