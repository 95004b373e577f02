package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
)

func TestABacklogThatIsLargerThanAnyBufferReachesASlowSubscriberThatIsNeverDisconnected(t *testing.T) {
	t.Parallel()
	const events, size, bytesPerSecond = 12_000, 4 << 10, 2_500_000
	// By default Redis permits 32 MB, and 8 MB for a minute; the relay keeps to twice its own limit of 4 MB, on any machine.
	server := redistest.Start(t, redistest.Options{Config: []string{"client-output-buffer-limit pubsub 10mb 0 0"}})
	// A subscriber that parses 48 MB of JSON under the race detector would be slow by itself: the ID alone does.
	keep := func(payload []byte) []byte {
		return append(bytes.Clone(payload[:len(`{"message_id":"`)+36]), `"}`...)
	}
	slow := redistest.Subscribe(t, server.Addr(), redistest.SubscriberOptions{Channels: []string{"test:updates"},
		BytesPerSecond: bytesPerSecond, Keep: keep})
	fast := redistest.Subscribe(t, server.Addr(), redistest.SubscriberOptions{Channels: []string{"test:updates"}, Keep: keep})
	slow.WaitSubscribed(1)
	fast.WaitSubscribed(1)
	box := openBox(t, filepath.Join(t.TempDir(), "outbox.db"))
	var history redistest.History
	for range 100 {
		batch := make([]outbox.Event, events/100)
		for i := range batch {
			id := uuid.NewString()
			body, err := json.Marshal(map[string]string{"message_id": id, "text": strings.Repeat("x", size-60)})
			require.NoError(t, err)
			batch[i] = outbox.Event{Topic: updates, MessageID: id, Payload: body}
			history.Appended = append(history.Appended, redistest.Event{Topic: updates, MessageID: id})
		}
		_, err := box.Add(context.Background(), batch...)
		require.NoError(t, err)
	}
	_, stop := startRelay(t, box, server.Addr(), relayOptions())
	for n := events / 10; n <= events; n += events / 10 {
		slow.WaitFor(n) // each tenth in time
	}
	fast.WaitFor(events)
	waitEmpty(t, box)
	stop()
	require.Equal(t, 1, slow.Connections(), "it was never disconnected")
	require.Equal(t, 1, fast.Connections())
	history.Subscribers = map[string][]redistest.Event{
		"slow": redistest.Events(slow.Messages(), topicOf, redistest.EnvelopeID),
		"fast": redistest.Events(fast.Messages(), topicOf, redistest.EnvelopeID),
	}
	require.Empty(t, history.Check())
	requireSound(t, box)
}
