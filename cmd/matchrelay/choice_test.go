package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/relay/control"
)

func TestHeldEventsAreThePendingOnesOfTopicsThatAreHeld(t *testing.T) {
	live := &liveStore{status: control.Status{Relay: &relay.Health{Topics: map[string]relay.TopicHealth{
		"match_updates": {State: relay.Held}, "system_alert": {State: relay.RedisDown}}}}}
	keep, f, err := choice{Filter: outbox.Filter{State: outbox.Held}}.on(live)
	require.NoError(t, err)
	require.Equal(t, outbox.Pending, f.State, "what the outbox can tell")
	for topic, held := range map[string]bool{"match_updates": true, "system_alert": false, "another": false} {
		info := outbox.Info{Topic: topic, State: outbox.Pending}
		kept, err := keep(t.Context(), &info)
		require.NoError(t, err)
		require.Equal(t, held, kept, topic)
		require.Equal(t, held, info.State == outbox.Held, topic)
	}
}
