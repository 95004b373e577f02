package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/outbox"
)

func TestTheListOfAnEarlierTime(t *testing.T) {
	dir := t.TempDir()
	db := filepath.Join(dir, "test.db")
	for _, list := range []string{`[{"matchid":1}]`, `[{"matchid":1},{"matchid":2}]`} {
		file := filepath.Join(dir, "list.json")
		require.NoError(t, os.WriteFile(file, []byte(list), 0o600))
		code, _, stderr := call(t, t.Context(), nil, "ingest", file, "--db", db)
		require.Equal(t, exitOK, code, stderr)
	}
	o, err := outbox.Open(db, outbox.Options{})
	require.NoError(t, err)
	_, first, err := o.Get(t.Context(), 1)
	require.NoError(t, err)
	_, second, err := o.Get(t.Context(), 2)
	require.NoError(t, errors.Join(err, o.Close()))

	for _, tt := range []struct {
		name string
		at   time.Time
		code int
		raw  string
	}{
		{"before the first list", first.AppendedAt.Add(-time.Nanosecond), exitNotFound, ""},
		{"of the first list", first.AppendedAt, exitOK, "[\n{\"matchid\":1}\n]\n"},
		{"just before the second", second.AppendedAt.Add(-time.Nanosecond), exitOK, "[\n{\"matchid\":1}\n]\n"},
		{"of the second", second.AppendedAt, exitOK, "[\n{\"matchid\":1},\n{\"matchid\":2}\n]\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := call(t, t.Context(), nil, "matches", "list", "--raw", "--at", tt.at.Format(time.RFC3339Nano), "--db", db)
			require.Equal(t, tt.code, code, stderr)
			require.Equal(t, tt.raw, stdout)
			code, _, _ = call(t, t.Context(), nil, "matches", "show", "1", "--at", tt.at.Format(time.RFC3339Nano), "--db", db)
			require.Equal(t, tt.code, code)
		})
	}
}

func TestTextFromOutsideCannotCommandATerminal(t *testing.T) {
	require.Equal(t, " [31mIFK Göteborg - BK ", oneLine("\x1b[31mIFK Göteborg - BK\n"))
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestMatchesThatCannotBeWrittenAreAnError(t *testing.T) {
	db := recordOne(t)
	for _, args := range [][]string{{"list"}, {"list", "--raw"}, {"list", "-o", "jsonl"}, {"show", "1"}, {"show", "1", "--raw"}, {"history", "1"}} {
		code, _, stderr := call(t, t.Context(), func(a *app) { a.stdout = fullDisk{} }, append(append([]string{"matches"}, args...), "--db", db)...)
		require.Equal(t, exitFailure, code, args)
		require.Contains(t, stderr, "no space left", args)
	}
}
