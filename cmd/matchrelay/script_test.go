package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/integration_test/program"
	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
)

// The scripts run the real program, matchrelay, as users have it: a process with the race detector takes longer to start than a
// command takes. Those in which several things go on at a time are run with it, as racing. Beside testscript's own commands
// they have
//
//	exits CODE COMMAND...   run a command and compare its exit code
//	eventually TEXT COMMAND...  run a command until its output has a text
//	json, jsonl             check that the last output is JSON, or JSON line by line
//	redis                   start a redis-server and set REDIS_URL
//	subscribe, received N   subscribe to all channels; wait for N messages
//	serve FILE              answer http://$SERVER/matches with a file
//	outbox FILE             make an outbox with events of every state
//	damage FILE             flip a bit of event #3 in it
//	forget FILE MATCH       take a match out of the stored list, behind everybody's back
//	hold FILE, release      open an outbox and keep it; close it
func TestCommands(t *testing.T) {
	built, err := program.Path()
	require.NoError(t, err)
	folder := t.TempDir()
	require.NoError(t, os.Symlink(built, filepath.Join(folder, "matchrelay")))
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Values["t"] = env.T().(testing.TB)
			env.Values["subscriber"] = &subscriberBox{}
			env.Values["held"] = &heldBox{}
			env.Setenv("TMPDIR", env.WorkDir)
			if testing.CoverMode() == "" { // else this test binary, which counts what it runs
				env.Setenv("PATH", folder+string(filepath.ListSeparator)+env.Getenv("PATH"))
			}
			env.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector lets each process sleep for a second
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":      exitsCmd,
			"eventually": eventuallyCmd,
			"json":       jsonCmd,
			"jsonl":      jsonlCmd,
			"redis":      redisCmd,
			"subscribe":  subscribeCmd,
			"received":   receivedCmd,
			"serve":      serveCmd,
			"outbox":     outboxCmd,
			"damage":     damageCmd,
			"forget":     forgetCmd,
			"hold":       holdCmd,
			"release":    releaseCmd,
		},
	})
}

func exitsCmd(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exited *exec.ExitError
	if errors.As(err, &exited) {
		got = exited.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func eventuallyCmd(ts *testscript.TestScript, _ bool, args []string) {
	for until := time.Now().Add(redistest.Patience); ; {
		ts.Check(ts.Exec(args[1], args[2:]...))
		out := ts.ReadFile("stdout")
		if strings.Contains(out, args[0]) {
			return
		}
		if time.Now().After(until) {
			ts.Fatalf("never %q", args[0])
		}
		<-time.After(20 * time.Millisecond)
	}
}

func jsonCmd(ts *testscript.TestScript, _ bool, _ []string) {
	if out := ts.ReadFile("stdout"); !json.Valid([]byte(out)) {
		ts.Fatalf("not JSON: %s", out)
	}
}

func jsonlCmd(ts *testscript.TestScript, _ bool, _ []string) {
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		if !json.Valid([]byte(line)) {
			ts.Fatalf("not JSON: %s", line)
		}
	}
}

// tb is the test that the script runs in.
func tb(ts *testscript.TestScript) testing.TB { return ts.Value("t").(testing.TB) }

func redisCmd(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Setenv("REDIS_URL", redistest.Start(tb(ts), redistest.Options{}).URL())
}

// subscriberBox holds the subscriber of a script.
type subscriberBox struct{ s *redistest.Subscriber }

func subscribeCmd(ts *testscript.TestScript, _ bool, _ []string) {
	s := redistest.Subscribe(tb(ts), strings.TrimPrefix(ts.Getenv("REDIS_URL"), "redis://"), redistest.SubscriberOptions{
		Channels: []string{"fogis:matches:updates", "fogis:processor:status", "fogis:system:alerts"},
	})
	s.WaitSubscribed(1)
	ts.Value("subscriber").(*subscriberBox).s = s
}

func receivedCmd(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := ts.Value("subscriber").(*subscriberBox).s.WaitFor(n); len(got) != n {
		ts.Fatalf("received %d messages, want %d", len(got), n)
	}
}

func serveCmd(ts *testscript.TestScript, _ bool, args []string) {
	file := ts.MkAbs(args[0])
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/matches" {
			http.NotFound(w, r)
			return
		}
		http.ServeFile(w, r, file)
	}))
	ts.Defer(server.Close)
	ts.Setenv("SERVER", strings.TrimPrefix(server.URL, "http://"))
}

// outboxCmd makes an outbox: #1 to #3 match updates: delivered, unheard, delivered; #4 and #5 alerts: parked, pending.
func outboxCmd(ts *testscript.TestScript, _ bool, args []string) {
	makeOutbox(tb(ts), ts.MkAbs(args[0]))
}

// damageCmd flips a bit of the message ID "message-3", wherever it stands: a page that is no longer used may hold it, too.
func damageCmd(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	ts.Check(os.WriteFile(path, bytes.ReplaceAll(data, []byte("message-3"), []byte("massage-3")), 0o600))
}

func forgetCmd(ts *testscript.TestScript, _ bool, args []string) {
	db, err := bbolt.Open(ts.MkAbs(args[0]), 0o600, nil)
	ts.Check(err)
	ts.Check(db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("matchrelay/state")).Delete([]byte(args[1])) }))
	ts.Check(db.Close())
}

// heldBox is the outbox that a script holds.
type heldBox struct{ o *outbox.Outbox }

func holdCmd(ts *testscript.TestScript, _ bool, args []string) {
	o, err := outbox.Open(ts.MkAbs(args[0]), outbox.Options{MustExist: true})
	ts.Check(err)
	ts.Value("held").(*heldBox).o = o
	ts.Defer(func() { _ = o.Close() })
}

func releaseCmd(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(ts.Value("held").(*heldBox).o.Close())
}

func makeOutbox(t testing.TB, path string) {
	ctx := context.Background()
	o, err := outbox.Open(path, outbox.Options{})
	require.NoError(t, err)
	for i, e := range []outbox.Event{
		{Topic: "match_updates", Snapshot: true}, {Topic: "match_updates", Snapshot: true}, {Topic: "match_updates", Snapshot: true},
		{Topic: "system_alert"}, {Topic: "system_alert"},
	} {
		e.MessageID = "message-" + strconv.Itoa(i+1)
		e.Payload = []byte(`{"secret":"070-1740605"}`)
		_, err := o.Add(ctx, e)
		require.NoError(t, err)
	}
	position, err := o.Position(ctx, "match_updates")
	require.NoError(t, err)
	require.NoError(t, o.Settle(ctx, outbox.Receipt{Topic: "match_updates", Through: 3, Unheard: []uint64{2}, Origin: position.Origin}))
	at := time.Date(2025, 9, 21, 10, 30, 0, 0, time.UTC)
	require.NoError(t, o.Park(ctx, "system_alert", 4, outbox.Failure{Attempts: 3, First: at, Last: at, Class: "poison", Text: "ERR too odd"}))
	require.NoError(t, o.Close())
}

// call runs the program within the test and returns what it did.
func call(t *testing.T, ctx context.Context, configure func(*app), args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := newApp(strings.NewReader(""), &out, &errs)
	a.environ = []string{}
	a.envFile = os.DevNull
	a.name = "matchrelay" // this test, started by that name, is the program
	if configure != nil {
		configure(a)
	}
	code = a.run(ctx, args)
	return code, out.String(), errs.String()
}
