package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const evil = "a\x1b[2J\u009b31m\x7f\u202eb"

func TestOutput_TextFromOutsideCommandsNoTerminal(t *testing.T) {
	for name, text := range map[string]string{
		"oneLine": oneLine(evil + "\n" + evil), "brief": brief(evil), "harmless": harmless(evil + "\nnext"), "escaped": string(escaped([]byte(evil + "\n"))),
	} {
		require.False(t, strings.ContainsAny(text, "\x1b\u009b\x7f\u202e"), "%s: %q", name, text)
	}
	require.Equal(t, 2, len(strings.Split(harmless("one\ntwo"), "\n")))
	long := brief(strings.Repeat("å", 500))
	require.LessOrEqual(t, len(long), mostText)
	require.True(t, strings.HasSuffix(long, "å…"))

	t.Run("a table", func(t *testing.T) {
		var b bytes.Buffer
		table := newTable("A")
		table.AppendRow([]any{evil, json.Number(evil), painted("\x1b[1mours\x1b[0m")})
		render(&b, table)
		require.Equal(t, 2, strings.Count(b.String(), "\x1b"), "%q", b.String())
	})
	t.Run("JSON says the same", func(t *testing.T) {
		var b bytes.Buffer
		a := newApp(nil, &b, nil)
		text := evil + "\U000e0041\u00a0å"
		require.NoError(t, a.printJSON(text))
		require.False(t, strings.ContainsAny(b.String(), "\x1b\u009b\x7f\u202e"), b.String())
		var again string
		require.NoError(t, json.Unmarshal(b.Bytes(), &again))
		require.Equal(t, text, again)
	})
	t.Run("raw bytes", func(t *testing.T) {
		for _, terminal := range []bool{true, false} {
			var b bytes.Buffer
			a := newApp(nil, &b, nil)
			a.terminal = func(any) bool { return terminal }
			require.NoError(t, a.printRaw([]byte(evil)))
			require.Equal(t, !terminal, b.String() == evil)
		}
	})
	t.Run("a log with colours", func(t *testing.T) {
		t.Setenv("TERM", "xterm")
		t.Setenv("NO_COLOR", "")
		var b bytes.Buffer
		a := newApp(nil, nil, &b)
		a.terminal = func(any) bool { return true }
		a.loggerAt(slog.LevelInfo).Info(evil, "text", evil, "error", errors.New(evil))
		require.Contains(t, b.String(), "\x1b[", "it has colours")
		require.NotContains(t, b.String(), "\x1b[2J")
		require.NotContains(t, b.String(), "\u009b")
	})
}
