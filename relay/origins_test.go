package relay_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// A mark that is always ahead: a second relay on a copy of the file, or somebody who writes it.
func TestFreshOrigins_AreNotTakenForEver(t *testing.T) {
	virtually(t, func(v virtual) {
		front := &target{Target: v.redis}
		var right atomic.Bool
		front.publish = func(next func() ([]relay.Reply, error), batches []relay.Batch) ([]relay.Reply, error) {
			if !right.Load() && batches[0].Channel == "test:news" {
				return []relay.Reply{{Outcome: relay.Lost, Mark: outbox.Mark{Sequence: 1 << 40, MessageID: "another"}, Run: "0", Receivers: 1}}, nil
			}
			return next()
		}
		epoch := func() uint64 {
			stats, err := v.box.Stats(context.Background())
			require.NoError(t, err)
			return stats.Epoch
		}
		contests := func() (n int) {
			for _, kind := range v.alertKinds() {
				if kind == "outbox_contested" {
					n++
				}
			}
			return n
		}
		v.add("news", 3)
		began := time.Now()
		v.startTarget(quick(), front)
		v.after(time.Minute)
		require.Equal(t, uint64(1+3), epoch(), "three fresh origins, and no more")
		require.Equal(t, relay.Blocked, v.state())
		require.Contains(t, v.relay.Health().Topics["news"].LastError, "matchrelay:*")
		require.Equal(t, 1, contests())
		require.Less(t, len(v.alertKinds()), 6, "an alert for each origin, and one that there are too many")
		_, err := v.box.Add(context.Background(), message("alerts", "x"))
		require.NoError(t, err)
		v.after(soon)
		require.Zero(t, v.topic("alerts").Pending, "the other topics go on")

		v.after(time.Until(began.Add(9 * time.Minute)))
		require.Equal(t, uint64(1+3), epoch())
		require.Equal(t, 1, contests(), "it is said once")
		v.after(2 * time.Minute)
		require.Equal(t, uint64(1+6), epoch(), "the ten minutes are over: it has tried again")
		require.Equal(t, relay.Blocked, v.state())
		require.Equal(t, 3, v.pending())

		right.Store(true)
		v.after(soon)
		require.Equal(t, relay.Delivering, v.state(), "the mark is right")
		require.Zero(t, v.pending())
		require.Equal(t, uint64(1+6), epoch())
		v.requireGot(nil)
		require.True(t, slices.ContainsFunc(v.alerts, func(a relay.Alert) bool { return a.Critical && strings.Contains(a.Message, "second relay") }))
	})
}
