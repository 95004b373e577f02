package relay_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// swapped gives each topic the other's channel.
func swapped(opts relay.Options) relay.Options {
	opts.Channels = map[string]string{"news": "test:alerts", "alerts": "test:news"}
	return opts
}

// requireNoFreshOrigin wants the file not to have been taken for an older copy, nor Redis to have forgotten anything.
func (r *rig) requireNoFreshOrigin() {
	r.t.Helper()
	stats, err := r.box.Stats(context.Background())
	require.NoError(r.t, err)
	require.Equal(r.t, uint64(1), stats.Epoch)
	require.Empty(r.t, r.alertKinds())
}

func TestSwappedChannels_AreNoRolledBackFile(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]relay.Options{"without streams": quick(), "with streams": streaming()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{})
			r.server.Start()
			sub := r.subscribe(redistest.SubscriberOptions{})
			back := opts
			for _, o := range []relay.Options{opts, swapped(opts), back, swapped(opts)} {
				r.start(o)
				r.addMany("news", 5)
				r.addMany("alerts", 3)
				r.waitDelivered("news")
				r.waitDelivered("alerts")
				r.halt()
				r.addMany("alerts", 1) // pending when the channels change hands
			}
			r.start(back)
			r.waitDelivered("alerts")
			r.halt()
			r.requireNoFreshOrigin()
			sub.WaitFor(len(r.appended))
			got := map[string]int{}
			for _, m := range sub.Messages() {
				got[redistest.EnvelopeID(m.Payload)]++
			}
			for _, e := range r.appended {
				require.Equal(t, 1, got[e.MessageID], e)
			}
			if !opts.Streams {
				return
			}
			for _, channel := range []string{"test:news", "test:alerts"} {
				entries, err := r.server.Client().XRange(context.Background(), relay.StreamKey(channel), "-", "+").Result()
				require.NoError(t, err)
				added := map[string]int{}
				for _, m := range entries {
					added[m.Values["id"].(string)]++
				}
				for _, e := range r.appended[:len(r.appended)-9] { // the last go to the channels as they are at last
					require.Equal(t, 1, added[e.MessageID], "each stream has had either topic, and has each event once: %v", e)
				}
			}
		})
	}
}

func TestSwappedChannels_AreNoRolledBackFileWhenTheEventsOfTheMarksArePruned(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	require.NoError(t, r.box.Close())
	var err error
	r.box, err = outbox.Open(r.path, outbox.Options{Retention: time.Millisecond})
	require.NoError(t, err)
	r.server.Start()
	r.addMany("news", 5)
	r.addMany("alerts", 3)
	opts := quick()
	opts.UntilEmpty, opts.Alert = true, r.alert
	require.NoError(t, relay.New(r.box, r.front(), opts).Run(context.Background())) // no tail keeps them
	eventually(t, "they are pruned", func() bool {
		_, err := r.box.Prune(context.Background())
		require.NoError(t, err)
		news, err := r.box.Position(context.Background(), "news")
		require.NoError(t, err)
		alerts, err := r.box.Position(context.Background(), "alerts")
		require.NoError(t, err)
		return news.PrunedTo == 5 && alerts.PrunedTo == 8
	})
	r.start(swapped(quick()))
	r.addMany("news", 5)
	r.addMany("alerts", 3)
	r.waitDelivered("news")
	r.waitDelivered("alerts")
	r.halt()
	stats, err := r.box.Stats(context.Background())
	require.NoError(t, err)
	require.Equal(t, uint64(1), stats.Epoch)
	require.NotContains(t, r.alertKinds(), "outbox_rolled_back", "what is pruned may look forgotten, but not as another file's")
}

func TestChannelOfATopicThatIsNoLongerRelayed_IsNoRolledBackFile(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	r.start(quick())
	r.addMany("alerts", 3)
	r.waitDelivered("alerts")
	r.halt()
	opts := quick()
	opts.Channels = map[string]string{"news": "test:alerts"}
	r.start(opts)
	r.addMany("news", 5)
	r.waitDelivered("news")
	r.halt()
	r.requireNoFreshOrigin()
}
