package redistest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEventsOfMessages(t *testing.T) {
	require.Equal(t, []Event{{"updates", "x"}, {"ch2", ""}, {"updates", "not an envelope"}}, Events([]Message{
		{Channel: "ch1", Payload: []byte(`{"message_id":"x"}`)},
		{Channel: "ch2", Payload: []byte(`{}`)},
		{Channel: "ch1", Payload: []byte(`no`)},
	}, map[string]string{"ch1": "updates"}, EnvelopeID))
}
