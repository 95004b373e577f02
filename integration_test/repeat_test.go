package integration_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
)

// tails are, by topic, the first event that comes again if Redis dies: what the relay itself knows, as the file has it. A
// tail only loses events at its front, so what comes again after a later death begins there, or later.
type tails map[string]uint64

func tailsOf(t *testing.T, box *outbox.Outbox) tails {
	t.Helper()
	stats, err := box.Stats(context.Background())
	require.NoError(t, err)
	from := tails{}
	for _, topic := range stats.Topics {
		if from[topic.Topic] = topic.Progress.TailFrom; topic.Progress.TailFrom == 0 {
			from[topic.Topic] = topic.Progress.Accepted.Sequence + 1
		}
	}
	return from
}

// mayRepeat are the message IDs of the events that may come again after a death: those of the tails, as they were before it,
// that had been appended when the Redis that died was given the last ones.
func (from tails) mayRepeat(t *testing.T, box *outbox.Outbox, given []redistest.Event) map[string]bool {
	t.Helper()
	list, err := box.List(context.Background(), outbox.Filter{})
	require.NoError(t, err)
	known, ids := distinct(given), map[string]bool{}
	for _, info := range list {
		if known[info.MessageID] && info.Sequence >= from[info.Topic] {
			ids[info.MessageID] = true
		}
	}
	return ids
}

// waitSafe waits until of each topic an event that is appended from now on has left the tail again: it must not come again
// when Redis dies.
func waitSafe(t *testing.T, box *outbox.Outbox, topics ...string) {
	t.Helper()
	stats, err := box.Stats(context.Background())
	require.NoError(t, err)
	for _, topic := range topics {
		eventually(t, "an event of "+topic+" must not come again", func() bool {
			from, ok := tailsOf(t, box)[topic]
			if !ok {
				return false
			}
			later, err := box.List(context.Background(), outbox.Filter{Topic: topic, After: stats.LastSequence, Limit: 1})
			require.NoError(t, err)
			return len(later) > 0 && later[0].Sequence < from
		})
	}
}
