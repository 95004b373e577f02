package api

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
)

const whole = `{ "type":"system_alert", "message_id":"01234567-89ab-7def-8123-456789abcdef","timestamp":"2025-09-21T10:30:00.000Z", "source":"python",
  "version":"1.0","extra":1.0, "payload":{"alert_type":"x","severity":"info","message":"<&>","timestamp":"2025-09-21T10:30:00.000Z","details":{}} }`

func TestAPostedEventIsCompletedOrKeptAsItIs(t *testing.T) {
	g := start(t, outbox.Options{}, changes.Options{Source: "mine"}, Options{})
	a := g.ok(g.post("/v1/events", status, "Idempotency-Key: 1"))
	m, err := schema.Decode([]byte(g.events()[0]))
	require.NoError(t, err)
	require.NoError(t, m.Validate())
	require.Equal(t, `{"sequences":[1],"message_id":"`+m.ID+`"}`+"\n", a.body)
	require.Equal(t, []string{"processing_status", "mine"}, []string{m.Type, m.Source})

	a = g.ok(g.post("/v1/events", whole, "Idempotency-Key: 2"))
	require.Equal(t, `{"sequences":[2],"message_id":"01234567-89ab-7def-8123-456789abcdef"}`+"\n", a.body)
	require.Equal(t, whole, g.events()[1])
	_, info, err := g.box.Get(ctx, 2)
	require.NoError(t, err)
	require.Equal(t, "system_alert", info.Topic)
}

func TestEventsThatAreRefused(t *testing.T) {
	g := startPlain(t)
	for _, tt := range []struct {
		name, query, body, key string
		status                 int
		code, says             string
	}{
		{"no key", "", status, "", 400, "invalid", "header Idempotency-Key: expected one"},
		{"a key that is too long", "", status, strings.Repeat("x", 256), 400, "invalid", "1 to 255 printable ASCII"},
		{"a key of other letters", "", status, "nyckel-å", 400, "invalid", "1 to 255 printable ASCII"},
		{"nothing", "", "", "k", 400, "invalid_event", "body: expected a JSON object"},
		{"no object", "", "[]", "k", 400, "invalid_event", "body: expected a JSON object"},
		{"no JSON", "", `{"type":"` + phone, "k", 400, "invalid_event", "body: expected a JSON object"},
		{"no type", "", `{"payload":{}}`, "k", 400, "invalid_event", "type: expected match_updates"},
		{"no payload", "", `{"type":"system_alert"}`, "k", 400, "invalid_event", "payload"},
		{"an unknown type", "", `{"type":"greeting","payload":{}}`, "k", 400, "invalid_event", "type: expected"},
		{"a wrong payload", "", `{"type":"system_alert","payload":{"alert_type":"x","severity":"bad","message":"` + phone + `","details":{}}}`, "k", 400, "invalid_event", "payload.severity: expected one of"},
		{"another member", "", `{"type":"system_alert","payload":{},"sauce":"` + phone + `"}`, "k", 400, "invalid_event", `\"sauce\": expected type and payload only`},
		{"half of a message", "", `{"type":"system_alert","message_id":"x","payload":{}}`, "k", 400, "invalid_event", "source: expected a text"},
		{"a message of another version", "", strings.Replace(whole, `"1.0"`, `"2.0"`, 1), "k", 400, "invalid_event", "version: expected 1.0"},
		{"a message with an id that is none", "", strings.Replace(whole, "01234567-", "x-", 1), "k", 400, "invalid_event", "message_id: expected"},
		{"a match update", "", `{"type":"match_updates","payload":{"matches":[]}}`, "k", 422, "wrong_endpoint", "post that to /v1/matches"},
		{"a match update in other letters", "", strings.Replace(whole, "system_alert", "match\\u005fupdates", 1), "k", 422, "wrong_endpoint", "post that to /v1/matches"},
		{"a match update in disguise", "", strings.Replace(whole, `"payload"`, `"type":"match_updates","payload"`, 1), "k", 422, "wrong_endpoint", "post that to /v1/matches"},
		{"a parameter", "dry_run=1", status, "k", 400, "unknown_parameter", "this request takes none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var headers []string
			if tt.key != "" {
				headers = []string{"Idempotency-Key: " + tt.key}
			}
			a := g.post("/v1/events?"+tt.query, tt.body, headers...)
			require.Equal(t, tt.status, a.status, a.body)
			require.Equal(t, tt.code, a.code(), a.body)
			require.Contains(t, a.body, tt.says)
			require.NotContains(t, a.body, phone)
			require.Empty(t, g.events())
		})
	}
	require.Equal(t, "invalid", g.post("/v1/events", status, "Idempotency-Key: 1", "Idempotency-Key: 2").code())
	g.ok(g.post("/v1/events", status, "Idempotency-Key: k"))
}

func TestAnEventThatIsTooLargeForRedisIsRefused(t *testing.T) {
	g := start(t, outbox.Options{MaxEventBytes: 100}, changes.Options{}, Options{})
	a := g.post("/v1/events", status, "Idempotency-Key: 1")
	require.Equal(t, 413, a.status)
	require.Contains(t, a.body, "OUTBOX_MAX_EVENT_BYTES")
}

// Whatever is posted, it is refused with a reason or is a good message.
func FuzzEvent(f *testing.F) {
	for _, body := range []string{status, alert, whole, "", "{}", "[]", `{"type":1,"payload":null}`, `{"type":"system_alert","payload":{},"payload":{"details":{"a":[[[]]]}}}`} {
		f.Add([]byte(body))
	}
	box, err := outbox.Open(f.TempDir()+"/test.db", outbox.Options{})
	require.NoError(f, err)
	defer box.Close()
	recorder, err := changes.NewRecorder(box, changes.Options{})
	require.NoError(f, err)
	a := New(recorder, Options{})
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := a.decodeEvent(body)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		again, err := schema.Decode(m.Bytes())
		require.NoError(t, err)
		require.NoError(t, again.Validate())
		require.NotEqual(t, schema.TypeMatchUpdates, m.Type)
		require.Equal(t, m.ID, again.ID)
	})
}
