package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay/control"
	"github.com/PitchConnect/matchrelay/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

const (
	phone  = "070-1740605"
	one    = `[{"matchid":1,"speldatum":"2030-01-02"}]`
	two    = `{"matchlista": [ {"matchid":1,"speldatum":"2030-01-02"}, { "matchid":"2", "n":1.0, "x":"<&>", "domaruppdraglista":[{"mobiltelefon":"` + phone + `"}]} ]}`
	status = `{"type":"processing_status","payload":{"status":"started","cycle_number":1,"processing_duration_ms":0,"matches_processed":0,"errors":[],"details":{}}}`
	alert  = `{"type":"system_alert","payload":{"alert_type":"x","severity":"info","message":"` + phone + `","details":{}}}`
)

// rig is an API that is served on a socket.
type rig struct {
	t        *testing.T
	box      *outbox.Outbox
	recorder *changes.Recorder
	api      *API
	web      *http.Client
	control  *control.Client
}

func start(t *testing.T, limits outbox.Options, recording changes.Options, opts Options) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "mr") // short enough for a socket
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	box, err := outbox.Open(filepath.Join(dir, "test.db"), limits)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, box.Close()) })
	recorder, err := changes.NewRecorder(box, recording)
	require.NoError(t, err)
	g := &rig{t: t, box: box, recorder: recorder, api: New(recorder, opts)}
	serving, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- control.Serve(serving, control.Options{Outbox: box, Routes: g.api.Routes()}) }()
	t.Cleanup(func() { stop(); require.NoError(t, <-ended) })
	socket := box.Path() + ".sock"
	require.Eventually(t, func() bool {
		g.control, err = control.Dial(socket)
		return err == nil
	}, time.Minute, time.Millisecond)
	g.web = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}}}
	t.Cleanup(func() {
		g.web.CloseIdleConnections()
		require.NoError(t, g.control.Close())
	})
	return g
}

func startPlain(t *testing.T) *rig { return start(t, outbox.Options{}, changes.Options{}, Options{}) }

// answer is what a request was answered with.
type answer struct {
	status int
	header http.Header
	body   string
}

// code is that of the error, "" if it is none.
func (a answer) code() string {
	var e struct {
		Error struct{ Code, Message string }
	}
	_ = json.Unmarshal([]byte(a.body), &e)
	return e.Error.Code
}

// do sends a request; headers are given as "Name: value".
func (g *rig) do(method, path, body string, headers ...string) answer {
	g.t.Helper()
	r, err := http.NewRequest(method, "http://x"+path, strings.NewReader(body))
	require.NoError(g.t, err)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	response, err := g.web.Do(r)
	require.NoError(g.t, err)
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	require.NoError(g.t, err)
	return answer{response.StatusCode, response.Header, string(b)}
}

func (g *rig) post(path, body string, headers ...string) answer {
	g.t.Helper()
	return g.do("POST", path, body, headers...)
}

// ok is do that must succeed.
func (g *rig) ok(a answer) answer {
	g.t.Helper()
	require.Equal(g.t, 200, a.status, a.body)
	return a
}

// events are the payloads in the log.
func (g *rig) events() (payloads []string) {
	g.t.Helper()
	list, err := g.box.List(ctx, outbox.Filter{})
	require.NoError(g.t, err)
	for _, info := range list {
		entry, _, err := g.box.Get(ctx, info.Sequence)
		require.NoError(g.t, err)
		payloads = append(payloads, string(entry.Payload))
	}
	return payloads
}

func (g *rig) state() string {
	g.t.Helper()
	matches, err := g.recorder.State(ctx)
	require.NoError(g.t, err)
	var raws [][]byte
	for _, m := range matches {
		raws = append(raws, m.Raw())
	}
	return string(bytes.Join(raws, []byte(" ")))
}

func parse(t testing.TB, list string) []schema.Match {
	t.Helper()
	matches, err := schema.ParseMatches([]byte(list))
	require.NoError(t, err)
	return matches
}
