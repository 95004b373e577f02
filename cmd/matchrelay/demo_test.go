package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/stretchr/testify/require"
)

// quick is the demo at ten times its pace.
var quick = script{before: 2, outage: 9, after: 2, pace: 100 * time.Millisecond}

func TestTheDemoDeliversEverythingThroughAnOutage(t *testing.T) {
	for _, tt := range []struct {
		name, server, says string
	}{
		{"of an embedded Redis", "", "Redis is stopped, as for an upgrade"},
		{"of a redis-server that is killed", "redis-server", "Redis is killed (SIGKILL)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			temp := t.TempDir()
			t.Setenv("TMPDIR", temp)
			t.Setenv("NO_COLOR", "")
			t.Setenv("TERM", "xterm")
			var out strings.Builder
			a := newApp(strings.NewReader(""), &out, &out)
			a.terminal = func(any) bool { return true }
			require.NoError(t, a.demo(t.Context(), tt.server, quick))
			for _, says := range []string{tt.says, "stored", "waiting in the outbox", "Redis does not answer", "Redis is back",
				"events of the outage received", "match_updates", "Every one of", "\x1b[32m"} {
				require.Contains(t, out.String(), says)
			}
			left, err := os.ReadDir(temp)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestTheDemosResultForAProgram(t *testing.T) {
	var out, story strings.Builder
	a := newApp(strings.NewReader(""), &out, &story)
	a.output = formatJSON
	require.NoError(t, a.demo(t.Context(), "", script{before: 1, outage: 1, after: 1, pace: 10 * time.Millisecond}))
	var result demoResult
	require.NoError(t, json.Unmarshal([]byte(out.String()), &result))
	require.True(t, result.Good)
	require.Equal(t, 9, result.Sent)
	require.NotContains(t, story.String(), "\x1b")
}

func TestAnInterruptedDemoSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	code, _, stderr := call(t, ctx, nil, "demo")
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, "it was interrupted: run it again")
}

func TestADemoThatLosesSomethingFails(t *testing.T) {
	var out strings.Builder
	s := &screen{out: &out}
	s.conclude(demoResult{Topics: []verdict{{Topic: "system_alert", Sent: 2, Received: 1, Missing: 1}}, Problems: []string{"gap"}}, false)
	require.Contains(t, out.String(), "NOT every event arrived")
	require.Contains(t, out.String(), "outbox: gap")
}

func TestTheDemoNeedsAFolder(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	code, _, stderr := call(t, t.Context(), nil, "demo")
	require.Equal(t, exitNotFound, code)
	require.Contains(t, stderr, "make a folder for the demo")
	code, _, stderr = call(t, t.Context(), nil, "run", "--dev")
	require.Equal(t, exitNotFound, code)
	require.Contains(t, stderr, "make a folder for the outbox")
}

func TestTheVerdictOnATopic(t *testing.T) {
	for _, tt := range []struct {
		name, sent, received, mayRepeat string
		want                            verdict
	}{
		{"nothing at all", "", "", "", verdict{}},
		{"all of it in order", "1 2 3", "1 2 3", "", verdict{Sent: 3, Received: 3}},
		{"one is missing", "1 2 3", "1 3", "", verdict{Sent: 3, Received: 2, Missing: 1}},
		{"one comes twice", "1 2", "1 2 2", "", verdict{Sent: 2, Received: 2, Repeated: 1}},
		{"two are swapped", "1 2", "2 1", "", verdict{Sent: 2, Received: 2, OutOfOrder: 1}},
		{"one was never sent", "1", "1 9", "", verdict{Sent: 1, Received: 1, Unknown: 1}},
		{"the tail comes again, in order", "1 2 3 4", "1 2 3 2 3 4", "2 3", verdict{Sent: 4, Received: 4, Again: 2}},
		{"the tail comes again, out of order", "1 2 3", "1 2 3 3 2", "2 3", verdict{Sent: 3, Received: 3, Again: 2, OutOfOrder: 1}},
		{"more than the tail comes again", "1 2 3", "1 2 3 1 2 3", "2 3", verdict{Sent: 3, Received: 3, Again: 2, Repeated: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mayRepeat := map[string]bool{}
			for _, id := range strings.Fields(tt.mayRepeat) {
				mayRepeat[id] = true
			}
			got := judgeTopic("", strings.Fields(tt.sent), strings.Fields(tt.received), mayRepeat)
			require.Equal(t, tt.want, got)
			require.Equal(t, got.Missing+got.Repeated+got.OutOfOrder+got.Unknown == 0, got.good())
		})
	}
}

func TestOnlyTheTailOfEachTopicMayRepeatAfterAKill(t *testing.T) {
	b := newBook()
	b.send([]outbox.Info{{Sequence: 1, Topic: "a", MessageID: "old"}, {Sequence: 2, Topic: "a", MessageID: "edge"},
		{Sequence: 3, Topic: "b", MessageID: "safe"}, {Sequence: 4, Topic: "a", MessageID: "last"}, {Sequence: 5, Topic: "b", MessageID: "new"}})
	b.kill(map[string]uint64{"a": 2, "b": 4})
	b.send([]outbox.Info{{Sequence: 6, Topic: "a", MessageID: "later"}})
	require.Equal(t, map[string]bool{"edge": true, "last": true, "new": true}, b.mayRepeat)
}
