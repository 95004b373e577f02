package control

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestMain(m *testing.M) {
	relay.QuietClientLog()
	goleak.VerifyTestMain(m, redistest.Leaks()...)
}

// patient are limits that a slow machine does not meet either.
var patient = limits{conns: standard.conns, large: standard.large, header: redistest.Patience, arrive: redistest.Patience, stall: redistest.Patience, idle: time.Minute, body: standard.body, page: standard.page,
	report: redistest.Patience}

const secret = `{"secret":"070-1740605"}`

// rig is an outbox whose socket is served.
type rig struct {
	t      *testing.T
	box    *outbox.Outbox
	path   string
	client *Client
	stop   func() error
}

// folder is a temporary folder with a name that is short enough for sockets.
func folder(t *testing.T) string {
	dir, err := os.MkdirTemp("", "mr")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func openBox(t *testing.T) *outbox.Outbox {
	box, err := outbox.Open(filepath.Join(folder(t), "test.db"), outbox.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, box.Close()) })
	return box
}

func start(t *testing.T, box *outbox.Outbox, r *relay.Relay, lim limits) *rig {
	t.Helper()
	g := &rig{t: t, box: box, path: box.Path() + ".sock"}
	g.stop = serving(t, Options{Outbox: box, Relay: r}, lim)
	var err error
	g.client, err = Dial(g.path)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, g.client.Close())
		require.NoError(t, g.stop())
		require.NoFileExists(t, g.path)
	})
	return g
}

// serving serves until the returned function is called, which may be done twice. A relay loses its lease with its connection,
// and not because it is slow.
func serving(t *testing.T, opts Options, lim limits) (stop func() error) {
	t.Helper()
	opts.Lease = redistest.Patience
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	ended := make(chan struct{})
	var err error
	go func() {
		defer close(ended)
		err = serve(ctx, opts, lim)
	}()
	path := opts.Path
	if path == "" {
		path = opts.Outbox.Path() + ".sock"
	}
	require.Eventually(t, func() bool {
		select {
		case <-ended:
			return true
		default:
		}
		conn, err := net.Dial("unix", path)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, redistest.Patience, time.Millisecond)
	return func() error {
		cancel()
		select {
		case <-ended:
			return err
		case <-time.After(redistest.Patience):
			return fmt.Errorf("it does not end")
		}
	}
}

// fill appends #1 to #3 match updates: delivered, unheard, delivered; #4 and #5 alerts: parked, pending.
func fill(t *testing.T, box *outbox.Outbox) {
	ctx := t.Context()
	for i, topic := range []string{"match_updates", "match_updates", "match_updates", "system_alert", "system_alert"} {
		_, err := box.Add(ctx, outbox.Event{Topic: topic, Snapshot: i < 3, MessageID: "message-" + strconv.Itoa(i+1), Payload: []byte(secret)})
		require.NoError(t, err)
	}
	position, err := box.Position(ctx, "match_updates")
	require.NoError(t, err)
	require.NoError(t, box.Settle(ctx, outbox.Receipt{Topic: "match_updates", Through: 3, Unheard: []uint64{2}, Origin: position.Origin}))
	at := time.Date(2025, 9, 21, 10, 30, 0, 0, time.UTC)
	require.NoError(t, box.Park(ctx, "system_alert", 4, outbox.Failure{Attempts: 3, First: at, Last: at, Class: "poison", Text: "ERR too odd"}))
	require.NoError(t, box.Flush(ctx))
}

func startFull(t *testing.T) *rig {
	box := openBox(t)
	fill(t, box)
	return start(t, box, nil, patient)
}
