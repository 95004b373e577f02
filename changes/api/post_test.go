package api

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
)

func TestAPostedListIsRecordedByteForByte(t *testing.T) {
	g := startPlain(t)
	a := g.ok(g.post("/v1/matches", two))
	require.Equal(t, "application/json", a.header.Get("Content-Type"))
	require.Equal(t, `{"matches":2,"new":2,"updated":0,"cancelled":0,"removed":0,"changes":2,"change_types":{"new_assignment":2},"high_priority":true,"sequences":[1]}`+"\n", a.body)
	second := `{ "matchid":"2", "n":1.0, "x":"<&>", "domaruppdraglista":[{"mobiltelefon":"` + phone + `"}]}`
	require.Contains(t, g.events()[0], `"matches":[{"matchid":1,"speldatum":"2030-01-02"},`+second+`]`)
	require.Equal(t, `{"matchid":1,"speldatum":"2030-01-02"} `+second, g.state())
	a = g.ok(g.post("/v1/matches", two))
	require.Contains(t, a.body, `"changes":0,`)
	require.Contains(t, a.body, `"sequences":[]`)
	a = g.ok(g.post("/v1/matches?dry_run=1", one))
	require.Contains(t, a.body, `"removed":1,`)
	require.Len(t, g.events(), 1)
}

func TestListsThatAreRefused(t *testing.T) {
	g := startPlain(t)
	fetched := time.Now().UTC().Truncate(time.Second)
	at := func(d time.Duration) string {
		return "fetched_at=" + url.QueryEscape(fetched.Add(d).Format(time.RFC3339))
	}
	g.ok(g.post("/v1/matches?"+at(-time.Minute), one))
	before := g.state()
	for _, tt := range []struct {
		name, query, body string
		status            int
		code, says        string
	}{
		{"an empty list", "", "[]", 422, "empty_list", "allow it explicitly"},
		{"an empty list, to look at", "dry_run=1", "[]", 422, "empty_list", "allow it explicitly"},
		{"nothing", "", "", 400, "invalid_list", "no JSON value found"},
		{"no JSON", "", "<html>", 400, "invalid_list", "expected a list of matches"},
		{"a form", "", "matches=1&x=" + phone, 400, "invalid_list", "expected a list of matches"},
		{"a wrong match", "", `[{"matchid":{"x":"` + phone + `"}}]`, 400, "invalid_list", "matches[0]: field matchid"},
		{"two with one id", "", `[{"matchid":1},{"matchid":"1"}]`, 400, "invalid_list", "matches[1] (matchid 1): field matchid: matches[0] has the same id"},
		{"too many referees", "", `[{"domaruppdraglista":[{}` + strings.Repeat(",{}", schema.MaxPeople) + `],"matchid":7}]`, 400, "invalid_list", "matches[0] (matchid 7): field domaruppdraglista: expected at most 200 items, got 201"},
		{"an older list", at(-time.Minute - time.Second), two, 409, "stale_list", "older than the recorded one"},
		{"a list of the future", at(time.Hour), two, 400, "invalid", "look at the clocks"},
		{"a time without a zone", "fetched_at=2025-09-21T10:30:00", two, 400, "invalid", "fetched_at: expected a time such as"},
		{"an offset that is not escaped", "fetched_at=2025-09-21T10:30:00+02:00", two, 400, "invalid", "%2B"},
		{"a flag that is none", "allow_empty=yes", "[]", 400, "invalid", "allow_empty: expected 1 or 0"},
		{"a parameter twice", "dry_run=0&dry_run=1", one, 400, "invalid", "dry_run is given more than once"},
		{"an unknown parameter", "alow_empty=1", "[]", 400, "unknown_parameter", `alow_empty\" is not a parameter of this request: expected allow_empty, fetched_at, dry_run`},
		{"no query", "%zz", "[]", 400, "invalid", "query: expected name=value"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := g.post("/v1/matches?"+tt.query, tt.body, "Idempotency-Key: "+tt.name)
			require.Equal(t, tt.status, a.status, a.body)
			require.Equal(t, tt.code, a.code())
			require.Contains(t, a.body, tt.says)
			require.NotContains(t, a.body, phone)
			require.Equal(t, before, g.state())
			require.Len(t, g.events(), 1)
		})
	}
	g.ok(g.post("/v1/matches?allow_empty=1", "[]", "Idempotency-Key: an empty list"))
	require.Empty(t, g.state(), "a request that failed does not use its key up")
	require.Equal(t, 405, g.do("DELETE", "/v1/matches", "").status)
}

// In virtual time, for so much takes a slow machine longer than a request may take to arrive.
func TestAListThatIsTooLargeIsRefused(t *testing.T) {
	virtually(t, Options{}, func(t *testing.T, g *rig) {
		a := g.post("/v1/matches", strings.Repeat(" ", schema.MaxListBytes)+one)
		require.Equal(t, 413, a.status)
		require.Equal(t, "too_large", a.code())
		require.Empty(t, g.events())
		a = g.post("/v1/events", strings.Repeat(" ", 1<<20)+status, "Idempotency-Key: 1")
		require.Equal(t, 413, a.status)
		require.Equal(t, "too_large", a.code())
	})
}

func TestARequestThatBreaksOffRecordsNothing(t *testing.T) {
	g := startPlain(t)
	for _, head := range []string{
		"Content-Length: 1000\r\n\r\n" + one,
		"Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n", len(one), one),
	} {
		conn, err := net.Dial("unix", g.box.Path()+".sock")
		require.NoError(t, err)
		_, err = conn.Write([]byte("POST /v1/matches HTTP/1.1\r\nHost: x\r\nIdempotency-Key: 1\r\n" + head))
		require.NoError(t, err)
		require.NoError(t, conn.(*net.UnixConn).CloseWrite())
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.Equal(t, 400, response.StatusCode)
		require.NoError(t, errors.Join(response.Body.Close(), conn.Close()))
	}
	require.Empty(t, g.events())
	g.ok(g.post("/v1/matches", one, "Idempotency-Key: 1"))
}

func TestAPreviousListIsImportedWithTheFirstOne(t *testing.T) {
	asked := 0
	g := start(t, outbox.Options{}, changes.Options{}, Options{Previous: func() ([]schema.Match, bool, error) {
		asked++
		if asked == 1 {
			return nil, false, errors.New("PREVIOUS_MATCHES_FILE: it cannot be read")
		}
		return parse(t, one), true, nil
	}})
	a := g.post("/v1/matches", one)
	require.Equal(t, 500, a.status)
	require.Contains(t, a.body, "PREVIOUS_MATCHES_FILE")
	require.Contains(t, g.post("/v1/matches?dry_run=1", "[]").body, "empty_list")
	require.Contains(t, g.ok(g.post("/v1/matches?dry_run=1", one)).body, `"changes":0`)
	has, err := g.recorder.HasState(ctx)
	require.NoError(t, err)
	require.False(t, has)
	require.Contains(t, g.ok(g.post("/v1/matches", one)).body, `"changes":0`)
	require.Contains(t, g.ok(g.post("/v1/matches", `[{"matchid":3}]`)).body, `"new":1`)
	require.Equal(t, 4, asked, "not once there is a list")
}

func TestARequestThatIsCompleteHasTimeToBeDone(t *testing.T) {
	previous := func() ([]schema.Match, bool, error) {
		time.Sleep(20 * time.Second) // it takes longer than a request may take to arrive
		return nil, true, nil
	}
	virtually(t, Options{Previous: previous}, func(t *testing.T, g *rig) {
		began := time.Now()
		g.ok(g.post("/v1/matches", one))
		require.Equal(t, 20*time.Second, time.Since(began))
		require.Len(t, g.events(), 1)
	})
}

func TestPostEvent_WaitsForNoComparisonOfALargeList(t *testing.T) {
	for at := range int64(3) { // a list asks for the time when its transaction begins, when it is compared, and when its message is made
		reached, goOn := make(chan struct{}), make(chan struct{})
		var asked atomic.Int64
		g := start(t, outbox.Options{}, changes.Options{Now: func() time.Time {
			if asked.Add(1) == at+1 {
				close(reached)
				<-goOn
			}
			return time.Now()
		}}, Options{})
		release := sync.OnceFunc(func() { close(goOn) })
		t.Cleanup(release)
		g.web.Timeout = redistest.Patience
		listed := make(chan answer, 1)
		go func() { listed <- g.post("/v1/matches", two) }()
		<-reached
		g.ok(g.post("/v1/events", status, "Idempotency-Key: 1"))
		require.Len(t, g.events(), 1)
		release()
		g.ok(<-listed)
		require.Len(t, g.events(), 2)
	}
}

func TestAFullOutboxIsSaidSo(t *testing.T) {
	g := start(t, outbox.Options{MaxBytes: 1200}, changes.Options{}, Options{})
	for i := range 2 {
		a := g.post("/v1/matches", two, "Idempotency-Key: "+strings.Repeat("k", i+1))
		require.Equal(t, 507, a.status, a.body)
		require.Equal(t, "full", a.code())
	}
	require.Empty(t, g.state())
	a := g.post("/v1/events", strings.Replace(status, `"errors":[]`, `"errors":["`+strings.Repeat("x", 2000)+`"]`, 1), "Idempotency-Key: 1")
	require.Equal(t, 507, a.status, a.body)
}

func TestWithoutEventsTheStateIsRecorded(t *testing.T) {
	g := start(t, outbox.Options{}, changes.Options{EventsOff: true}, Options{})
	require.Contains(t, g.ok(g.post("/v1/matches", one)).body, `"new":1,`)
	require.NotEmpty(t, g.state())
	require.Contains(t, g.ok(g.post("/v1/events", status, "Idempotency-Key: 1")).body, `{"sequences":[],"message_id":"`)
	a := g.post("/v1/resync", "")
	require.Equal(t, 409, a.status)
	require.Equal(t, "events_off", a.code())
	require.Empty(t, g.events())
}

func TestAResyncTellsWhoAskedAndWhy(t *testing.T) {
	g := startPlain(t)
	a := g.post("/v1/resync", "")
	require.Equal(t, 404, a.status)
	require.Equal(t, "no_state", a.code())
	g.ok(g.post("/v1/matches", one))
	require.Equal(t, `{"matches":1,"sequences":[]}`+"\n", g.ok(g.post("/v1/resync?dry_run=1", "")).body)
	for _, body := range []string{`{"reasons":1}`, `{} {}`, `[]`, `{`} {
		require.Equal(t, "invalid", g.post("/v1/resync", body).code(), body)
	}
	require.Equal(t, `{"matches":1,"sequences":[2]}`+"\n", g.ok(g.post("/v1/resync", `{"reason":"a new calendar"}`)).body)
	audit, err := g.box.Audit(ctx, 0)
	require.NoError(t, err)
	require.Len(t, audit, 1)
	require.Equal(t, "a new calendar", audit[0].Reason)
	require.NotEmpty(t, audit[0].Actor)
}
