package schema

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAPayloadIsCompletedToAMessageAndKeepsItsBytes(t *testing.T) {
	at := time.Date(2025, 9, 21, 10, 30, 0, 0, time.UTC)
	const own = `{ "alert_type":"disk_full", "severity":"error","message":"<&> \u2028","timestamp":"2025-01-01T00:00:00.000Z","details":{"n":1.0} }`
	m, err := NewMessage(TypeSystemAlert, "python", at, []byte(" "+own+"\n"))
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(string(m.Bytes()), `,"payload":`+own+"}"), string(m.Bytes()))
	again, err := Decode(m.Bytes())
	require.NoError(t, err)
	require.NoError(t, again.Validate())
	require.Equal(t, []any{m.ID, TypeSystemAlert, "python", at}, []any{again.ID, again.Type, again.Source, again.Timestamp})

	m, err = NewMessage(TypeProcessingStatus, "", at, []byte(`{"status":"started","cycle_number":1,"processing_duration_ms":0,"matches_processed":0,"errors":[],"details":{}}`))
	require.NoError(t, err)
	require.Contains(t, string(m.Bytes()), `"details":{},"timestamp":"2025-09-21T10:30:00.000Z"}}`)
	require.Equal(t, DefaultSource, m.Source)
}

func TestPayloadsThatMakeNoMessage(t *testing.T) {
	for _, tt := range []struct{ name, kind, payload, says string }{
		{"nothing", TypeSystemAlert, ``, "payload: "},
		{"no object", TypeSystemAlert, `[]`, "payload: expected an object"},
		{"no JSON", TypeSystemAlert, `{"a"`, "payload: "},
		{"two values", TypeSystemAlert, `{} {}`, "payload: unexpected data"},
		{"an empty one", TypeSystemAlert, `{}`, "payload: missing alert_type, severity, message, details"},
		{"a wrong field", TypeProcessingStatus, `{"status":"done","cycle_number":1,"processing_duration_ms":0,"matches_processed":0,"errors":[],"details":{}}`, "payload.status: expected one of"},
		{"an unknown type", "greeting", `{}`, "type: expected match_updates"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewMessage(tt.kind, "", time.Time{}, []byte(tt.payload))
			require.ErrorIs(t, err, ErrMessage)
			require.ErrorContains(t, err, tt.says)
		})
	}
	_, err := NewMessage(TypeSystemAlert, "", time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), []byte(`{}`))
	require.ErrorContains(t, err, "timestamp: expected a year")
}

// Validating such a number against the JSON Schema takes seconds for each.
func TestNewMessage_RefusesNumbersThatAreTooLarge(t *testing.T) {
	for _, number := range []string{strings.Repeat("9", 900_000), "1e999999", "1e-999999"} {
		_, err := NewMessage(TypeProcessingStatus, "", time.Time{}, []byte(`{"status":"completed","cycle_number":`+number+`}`))
		require.ErrorIs(t, err, ErrMessage)
		require.ErrorContains(t, err, "payload: expected a number")
	}
}
