package main

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/relay/control"
)

func TestWatchPrintsAgainUntilItIsInterrupted(t *testing.T) {
	db := filepath.Join(t.TempDir(), "test.db")
	makeOutbox(t, db)
	out := until(t, "\n\noutbox  ", "status", "--watch", "100ms", "--db", db)
	require.NotContains(t, out, "\x1b")
	out = until(t, "}\n{", "status", "--watch", "100ms", "--db", db, "-o", "jsonl")
	require.Contains(t, out, `"not_running"`)
	for _, args := range []string{"--watch 0s", "--watch -1s", "--watch 2s --check", "--watch"} {
		code, _, stderr := call(t, t.Context(), nil, append([]string{"status", "--db", db}, strings.Fields(args)...)...)
		require.Equal(t, exitUsage, code, args)
		require.Contains(t, stderr, "--watch", args)
	}
	code, _, _ := call(t, t.Context(), nil, "status", "--watch", "1s", "--db", db+".none")
	require.Equal(t, exitNotFound, code, "the first look must succeed")
}

func TestWatchRedrawsOnATerminalAndOutlastsAFailure(t *testing.T) {
	db := filepath.Join(t.TempDir(), "test.db")
	makeOutbox(t, db)
	ctx, cancel := context.WithTimeout(t.Context(), redistest.Patience)
	defer cancel()
	out := &output{want: "\x1b[H\x1b[2Joutbox", seen: func() { _ = os.Rename(db, db+".away") }}
	a := newApp(nil, out, &output{want: "not found", seen: cancel})
	a.environ, a.envFile, a.terminal = []string{}, os.DevNull, func(any) bool { return true }
	require.Equal(t, exitOK, a.run(ctx, []string{"status", "--watch", "100ms", "--db", db}))
	require.FileExists(t, db+".away")
	require.ErrorIs(t, ctx.Err(), context.Canceled)
}

func TestAProcessThatDoesNotAnswerIsNamed(t *testing.T) {
	defer func(d time.Duration) { answerTime = d }(answerTime)
	answerTime = 100 * time.Millisecond
	folder, err := os.MkdirTemp("", "mr")
	require.NoError(t, err)
	defer os.RemoveAll(folder)
	db := filepath.Join(folder, "test.db")
	makeOutbox(t, db)
	l, err := net.Listen("unix", db+".sock")
	require.NoError(t, err)
	defer l.Close()
	for _, args := range []string{"status", "events list", "pause"} {
		code, _, stderr := call(t, t.Context(), nil, append(strings.Fields(args), "--db", db)...)
		require.Equal(t, exitUnreachable, code, args)
		require.Contains(t, stderr, "has not answered for 100ms", args)
	}
	answerTime = time.Hour
	code, _, stderr := call(t, t.Context(), nil, "healthcheck", "--timeout", "100ms", "--db", db)
	require.Equal(t, exitUnreachable, code)
	require.Contains(t, stderr, "no answer within 100ms; look at the process, or restart it")
}

func TestTheErrorOfALiveOutboxIsExplained(t *testing.T) {
	folder, err := os.MkdirTemp("", "mr")
	require.NoError(t, err)
	defer os.RemoveAll(folder)
	db := filepath.Join(folder, "test.db")
	makeOutbox(t, db)
	o, err := outbox.Open(db, outbox.Options{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- control.Serve(ctx, control.Options{Outbox: o}) }()
	require.Eventually(t, func() bool {
		code, _, _ := call(t, t.Context(), nil, "status", "--db", db)
		return code == exitOK
	}, redistest.Patience, 10*time.Millisecond)
	require.NoError(t, o.Close())
	code, _, stderr := call(t, t.Context(), nil, "status", "--db", db)
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, "the outbox is closed")
	cancel()
	require.NoError(t, <-served)
}

func TestWhatARelaySaysGoesIntoTheStatus(t *testing.T) {
	a := newApp(nil, io.Discard, io.Discard)
	a.environ, a.envFile = []string{}, os.DevNull
	cfg, err := a.load(nil)
	require.NoError(t, err)
	s := newStatus(outbox.Stats{Topics: []outbox.TopicStats{{Topic: "match_updates", Pending: 3, Progress: outbox.Progress{Receivers: 2}},
		{Topic: "system_alert", Pending: 1}}}, "x", cfg, time.Now())
	at := time.Date(2025, 9, 21, 10, 30, 0, 0, time.UTC)
	s.Live = true
	s.addHealth(&relay.Health{State: relay.Held, Since: at, LastError: "too few", Topics: map[string]relay.TopicHealth{
		"match_updates": {State: relay.Held, LastError: "too few", Receivers: -1, Amnesias: 1, Readded: 7},
		"system_alert":  {State: relay.Delivering, Receivers: 4}}})
	require.Equal(t, relayStatus{State: relay.Held, Since: "2025-09-21T10:30:00Z", LastError: "too few"}, s.Relay)
	require.Equal(t, "held since 2025-09-21 12:30:00: too few", s.Relay.text(cfg.Processor.Location))
	require.EqualValues(t, 3, s.Topics[0].Held)
	require.Equal(t, 2, s.Topics[0].Receivers, "what is stored, where Redis does not tell")
	require.Equal(t, 7, s.Topics[0].Readded)
	require.EqualValues(t, 0, s.Topics[2].Held)
	require.Equal(t, 4, s.Topics[2].Receivers)
	require.Empty(t, s.Topics[1].State, "processing_status is not relayed")
}
