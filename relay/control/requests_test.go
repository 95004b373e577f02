package control

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/outbox"
)

// ask sends a request as any HTTP client would.
func (g *rig) ask(method, path, body string) (status int, text string) {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), method, "http://x"+path, strings.NewReader(body))
	require.NoError(g.t, err)
	response, err := g.client.web.Do(r)
	require.NoError(g.t, err)
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	require.NoError(g.t, err)
	return response.StatusCode, string(b)
}

func TestRequestsThatAreRefused(t *testing.T) {
	g := startFull(t)
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		code                     string
	}{
		{"unknown path", "GET", "/v1/evens", "", 404, "unknown_path"},
		{"unknown version", "GET", "/v2/status", "", 404, "unknown_version"},
		{"no version", "GET", "/", "", 404, "unknown_version"},
		{"two slashes", "GET", "//v1/status", "", 404, "unknown_path"},
		{"a way around", "POST", "/v1/../v1/pause", "", 404, "unknown_path"},
		{"wrong method", "GET", "/v1/pause", "", 405, "method_not_allowed"},
		{"wrong method for a list", "POST", "/v1/events", "", 405, "method_not_allowed"},
		{"replay by GET", "GET", "/v1/events/replay", "", 405, "method_not_allowed"},
		{"unknown parameter", "GET", "/v1/events?match=1", "", 400, "unknown_parameter"},
		{"unknown state", "GET", "/v1/events?state=held", "", 400, "invalid"},
		{"no number", "GET", "/v1/events?after=x", "", 400, "invalid"},
		{"a negative limit", "GET", "/v1/events?limit=-1", "", 400, "invalid"},
		{"no time", "GET", "/v1/events?since=yesterday", "", 400, "invalid"},
		{"given twice", "GET", "/v1/events?topic=a&topic=b", "", 400, "invalid"},
		{"sequence zero", "GET", "/v1/events/0", "", 400, "invalid"},
		{"no sequence", "GET", "/v1/events/six", "", 400, "invalid"},
		{"unknown parameter of an event", "GET", "/v1/events/1?payloads=1", "", 400, "invalid"},
		{"no such event", "GET", "/v1/events/99", "", 404, "not_found"},
		{"replay without a body", "POST", "/v1/events/replay", "", 400, "invalid"},
		{"replay of an unknown field", "POST", "/v1/events/replay", `{"actor":"root"}`, 400, "unknown_field"},
		{"replay of two objects", "POST", "/v1/events/replay", `{}{}`, 400, "invalid"},
		{"replay of what is not there", "POST", "/v1/events/replay", `{"sequences":[99]}`, 404, "not_found"},
		{"too many sequences", "POST", "/v1/events/replay", `{"sequences":[1` + strings.Repeat(",1", MaxSequences) + `]}`, 413, "too_large"},
		{"too large", "POST", "/v1/events/replay", `{"reason":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "too_large"},
		{"discard without a reason", "POST", "/v1/events/discard", `{"sequences":[1]}`, 400, "invalid"},
		{"discard of no object", "POST", "/v1/events/discard", `[]`, 400, "invalid"},
		{"discard of what is not there", "POST", "/v1/events/discard", `{"sequences":[99],"reason":"x"}`, 404, "not_found"},
		{"too many to discard", "POST", "/v1/events/discard", `{"sequences":[1` + strings.Repeat(",1", MaxSequences) + `],"reason":"x"}`, 413, "too_large"},
		{"audit of something", "GET", "/v1/audit?actor=me", "", 400, "invalid"},
		{"audit without a number", "GET", "/v1/audit?limit=all", "", 400, "invalid"},
		{"no relay", "POST", "/v1/pause", "", 409, "no_relay"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, text := g.ask(tt.method, tt.path, tt.body)
			require.Equal(t, tt.status, status, text)
			var a answer
			require.NoError(t, json.Unmarshal([]byte(text), &a))
			require.Equal(t, tt.code, a.Error.Code)
			require.NotEmpty(t, a.Error.Message)
			require.NotContains(t, text, "070-1740605")
		})
	}
	_, err := g.client.List(t.Context(), outbox.Filter{State: outbox.Held})
	require.ErrorIs(t, err, outbox.ErrInvalid)
	_, err = g.client.Pause(t.Context())
	require.ErrorIs(t, err, ErrNoRelay)
	require.ErrorIs(t, g.client.call(t.Context(), "GET", "/v3/x", nil, nil), ErrUnsupported)
	require.Len(t, mustList(t, g.client, outbox.Filter{}), 5, "nothing was done")
}

func mustList(t *testing.T, c *Client, f outbox.Filter) []outbox.Info {
	t.Helper()
	list, err := c.List(t.Context(), f)
	require.NoError(t, err)
	return list
}

func TestARequestThatDoesNotArriveIsGivenUp(t *testing.T) {
	virtually(t, Options{}, standard, func(t *testing.T, v virtual) {
		for _, sent := range []string{"", "GET /v1/status HTTP/1.1\r\n", "POST /v1/events/replay HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{"} {
			conn, err := v.socket.Dial(t.Context(), "", "")
			require.NoError(t, err)
			began := time.Now()
			if sent != "" {
				_, err = conn.Write([]byte(sent))
				require.NoError(t, err)
			}
			_, err = io.Copy(io.Discard, conn)
			require.NoError(t, err, "the other side has closed it")
			require.Less(t, time.Since(began), 2*standard.arrive)
			require.NoError(t, conn.Close())
		}
		status, text := v.ask("GET", "/v1/status", strings.Repeat("x", 100))
		require.Equal(t, 200, status, text)
	})
}

// many appends n events.
func many(t *testing.T, box *outbox.Outbox, n int) {
	events := make([]outbox.Event, n)
	for i := range events {
		events[i] = outbox.Event{Topic: "news", MessageID: "m" + strconv.Itoa(i), Payload: []byte(secret)}
	}
	_, err := box.Add(t.Context(), events...)
	require.NoError(t, err)
}

func TestAClientThatReadsNothingIsGivenUpAndStopsNobody(t *testing.T) {
	virtually(t, Options{}, standard, func(t *testing.T, v virtual) {
		many(t, v.box, 2000)
		conn, err := v.socket.Dial(t.Context(), "", "")
		require.NoError(t, err)
		defer conn.Close()
		_, err = fmt.Fprint(conn, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		require.Len(t, mustList(t, v.client, outbox.Filter{}), 2000)
		time.Sleep(2 * standard.stall)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil { // the first piece was on its way
			_, err = io.Copy(io.Discard, response.Body)
			require.NoError(t, response.Body.Close())
		}
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "a client sees that this is not the end of the list")
	})
}

func TestALongAnswerOutlastsTheTimeThatARequestHasToArrive(t *testing.T) {
	lim := standard
	lim.page = 200
	virtually(t, Options{}, lim, func(t *testing.T, v virtual) {
		many(t, v.box, 2000)
		n := 0
		require.NoError(t, v.client.Each(t.Context(), outbox.Filter{}, func(outbox.Info) error {
			if n++; n%500 == 0 {
				time.Sleep(lim.arrive)
			}
			return nil
		}))
		require.Equal(t, 2000, n)
	})
}

func TestAListThatIsCutShortIsAnError(t *testing.T) {
	box := openBox(t)
	many(t, box, 20_000)
	g := start(t, box, nil, patient)
	n := 0
	err := g.client.Each(t.Context(), outbox.Filter{}, func(outbox.Info) error {
		if n++; n == 1 {
			require.NoError(t, g.stop())
		}
		return nil
	})
	require.ErrorContains(t, err, "the list ends early")
	require.Less(t, n, 20_000)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = g.client.Status(ctx)
	require.ErrorIs(t, err, context.Canceled)
}
