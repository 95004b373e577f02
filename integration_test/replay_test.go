package integration_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay/control"
)

// TestReplay_OfThousandsOfParkedEventsIsInterruptedAndGoesOn interrupts it as a person would, and goes on with the same command:
// none is left out, none comes twice, and the order is kept, in the log and at a subscriber.
func TestReplay_OfThousandsOfParkedEventsIsInterruptedAndGoesOn(t *testing.T) {
	t.Parallel()
	const n = 2_000 // ten steps of the outbox, two pages of the list
	for _, tt := range []struct {
		name string
		held bool
	}{{"on the file", false}, {"through the control socket", true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(shortFolder(t), "test.db")
			box := openBox(t, path)
			parked := park(t, box, n)
			server := redistest.Start(t, redistest.Options{})
			sub := subscribe(t, server, 0)
			env := []string{"MATCHRELAY_DB=" + path}
			if tt.held {
				r, _ := startRelay(t, box, server.Addr(), relayOptions())
				serveAtOnce(t, control.Options{Outbox: box, Relay: r})
			} else {
				require.NoError(t, box.Close())
			}

			term := openTerminal(t)
			replay := program(t, env, "events", "replay", "--state", "parked", "--yes", "--rate", "100", "-o", "json")
			var stdout bytes.Buffer
			replay.Stdout, replay.Stderr = &stdout, term.side
			require.NoError(t, replay.Start())
			term.shows("\r300 of 2000 looked at, 300 replayed")
			require.NoError(t, replay.Process.Signal(os.Interrupt))
			require.Error(t, replay.Wait())
			require.Equal(t, 6, replay.ProcessState.ExitCode(), term.text())
			term.shows("of 2000 are replayed: it was interrupted; run it again for the rest")
			first := replayed(t, stdout.Bytes())
			require.GreaterOrEqual(t, first, 300)
			require.Less(t, first, n)

			second := replayed(t, []byte(runOK(t, env, "events", "replay", "--state", "parked", "--yes", "-o", "json")))
			require.Equal(t, n, first+second)
			require.Contains(t, runOK(t, env, "events", "replay", "--state", "parked", "--yes"), "0 events chosen")

			if !tt.held {
				box = openBox(t, path)
				drain(t, box, server.Addr())
			}
			waitEmpty(t, box)
			list, err := box.List(t.Context(), outbox.Filter{After: n})
			require.NoError(t, err)
			require.Len(t, list, n)
			for i, info := range list {
				require.EqualValues(t, i+1, info.ReplayOf)
				require.Equal(t, parked[i], info.MessageID)
			}
			for i, e := range redistest.Events(sub.WaitFor(n), topicOf, redistest.EnvelopeID) {
				require.Equal(t, parked[i], e.MessageID)
			}
			require.Equal(t, n, sub.Count())
			audited := 0
			entries, err := box.Audit(t.Context(), 0)
			require.NoError(t, err)
			for _, e := range entries {
				audited += e.Count
			}
			require.Equal(t, n, audited)
			requireSound(t, box)
		})
	}
}

// park fills an outbox with parked events and returns their message IDs.
func park(t *testing.T, box *outbox.Outbox, n int) (ids []string) {
	t.Helper()
	events := make([]outbox.Event, n)
	for i := range events {
		events[i] = newEvent(statuses, "parked")
		ids = append(ids, events[i].MessageID)
	}
	sequences, err := box.Add(t.Context(), events...)
	require.NoError(t, err)
	for _, sequence := range sequences {
		require.NoError(t, box.Park(t.Context(), statuses, sequence, outbox.Failure{Class: "poison", Text: "ERR too odd"}))
	}
	return ids
}

// serveAtOnce is serve until the test ends, and returns when the socket is there.
func serveAtOnce(t *testing.T, opts control.Options) (stop func()) {
	t.Helper()
	stop = serve(t, opts)
	t.Cleanup(stop)
	eventually(t, "the socket is there", func() bool {
		_, ok := whoever(opts.Outbox.Path())
		return ok
	})
	return stop
}

func replayed(t *testing.T, output []byte) int {
	t.Helper()
	var r outbox.ReplayResult
	require.NoError(t, json.Unmarshal(output, &r), "%s", output)
	require.Len(t, r.Sequences, r.Replayed)
	return r.Replayed
}

// TestARateIsKeptAndTheFileIsFreeMeanwhile lets a processor open the file between two events of a slow replay, which then
// goes on through its control socket.
func TestARateIsKeptAndTheFileIsFreeMeanwhile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortFolder(t), "test.db")
	box := openBox(t, path)
	parked := park(t, box, 4)
	require.NoError(t, box.Close())
	term := openTerminal(t)
	replay := program(t, []string{"MATCHRELAY_DB=" + path}, "events", "replay", "--state", "parked", "--yes", "--rate", "1")
	replay.Stderr = term.side
	began := time.Now()
	require.NoError(t, replay.Start())
	term.shows("\r1 of 4 looked at, 1 replayed")
	server := redistest.Start(t, redistest.Options{})
	sub := subscribe(t, server, 0)
	box = openBox(t, path)
	r, _ := startRelay(t, box, server.Addr(), relayOptions())
	serveAtOnce(t, control.Options{Outbox: box, Relay: r})
	require.NoError(t, replay.Wait(), term.text())
	for i, e := range redistest.Events(sub.WaitFor(4), topicOf, redistest.EnvelopeID) {
		require.Equal(t, parked[i], e.MessageID)
	}
	list, err := box.List(t.Context(), outbox.Filter{After: 4})
	require.NoError(t, err)
	require.GreaterOrEqual(t, list[3].AppendedAt.Sub(began), 3*time.Second, "one a second, and the first at once")
}
