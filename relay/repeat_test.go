package relay_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// A command can linger in the socket of a frozen Redis and be run after the relay has asked how things are, so that it is
// the script itself that must know what it has seen.
func TestRedisItselfSkipsWhatItHasSeenOfABatch(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.add("news", 10)
	entries, err := r.box.Read(context.Background(), outbox.Range{Topic: "news", Events: 10, Bytes: 1 << 20})
	require.NoError(t, err)
	target := relay.NewRedis(r.client, socketTimeout)
	require.NoError(t, target.Load(context.Background()))
	publish := func(events []outbox.Entry) relay.Reply {
		t.Helper()
		replies, err := target.Publish(context.Background(), relay.Batch{Channel: "test:news", Origin: "origin", Events: events})
		require.NoError(t, err)
		return replies[0]
	}
	require.Equal(t, 4, publish(entries[:4]).Published)
	require.Equal(t, 0, publish(entries[:4]).Published, "all of it was seen")
	again := publish(entries)
	require.Equal(t, relay.OK, again.Outcome)
	require.Equal(t, 6, again.Published, "four of ten were seen")
	require.Equal(t, entries[9].MessageID, again.Mark.MessageID)
	require.Equal(t, relay.Lost, publish(entries[:4]).Outcome, "a mark that is no event of the batch is no repeat")
	sub.WaitFor(10)
	r.requireComplete(sub, nil)
}
