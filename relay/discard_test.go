package relay_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestDiscardingTheEventThatBlocksATopicLetsItGoOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{Config: []string{"proto-max-bulk-len 1mb"}})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.add("news", 5)
	blocking, err := r.box.Add(context.Background(), oversized())
	require.NoError(t, err)
	r.add("news", 5)
	opts := quick()
	opts.BlockOnPoison = true
	r.start(opts)
	eventually(t, "the topic is blocked", func() bool { return r.relay.Health().State == relay.Blocked })
	result, err := r.box.Discard(context.Background(), blocking, outbox.DiscardOptions{Reason: "too large"})
	require.NoError(t, err)
	require.Equal(t, outbox.DiscardResult{Matched: 1, Eligible: 1, Pending: 1, Discarded: 1}, result)
	r.waitDelivered("news")
	sub.WaitFor(10)
	require.EqualValues(t, 1, r.topic("news").Discarded)
}

func TestEventsDiscardedUnderARunningRelayAreGoneAndTheOthersComeOnceInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	sequences := r.addMany("news", 4000)
	chosen := slices.Clone(sequences[len(sequences)/4:])
	front := r.front()
	begun := make(chan struct{}) // discarding
	front.publish = func(next func() ([]relay.Reply, error), batches []relay.Batch) ([]relay.Reply, error) {
		if events := batches[0].Events; len(events) > 0 && events[0].Sequence > sequences[len(sequences)/2] {
			<-begun // so that not everything is delivered before
		}
		return next()
	}
	r.startTarget(quick(), front)
	rand.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	for i := 0; i < len(chosen)/2; i += 50 { // some are delivered before, some are in flight, most are pending
		_, err := r.box.Discard(context.Background(), chosen[i:i+50], outbox.DiscardOptions{Reason: "test"})
		require.NoError(t, err)
		if i == 0 {
			close(begun)
		}
	}
	r.waitDelivered("news")
	list, err := r.box.List(context.Background(), outbox.Filter{Topic: "news"})
	require.NoError(t, err)
	due, discarded := map[string]bool{}, 0
	for _, info := range list {
		require.Contains(t, []outbox.State{outbox.Delivered, outbox.Discarded}, info.State)
		if due[info.MessageID] = info.State == outbox.Delivered; !due[info.MessageID] {
			discarded++
		}
	}
	require.NotZero(t, discarded)
	delivered := len(list) - discarded
	eventually(t, "the subscriber has what was not discarded", func() bool {
		n := 0
		for _, e := range r.received(sub) {
			if due[e.MessageID] {
				n++
			}
		}
		return n >= delivered
	})
	position := map[string]int{}
	for i, info := range list {
		position[info.MessageID] = i
	}
	last := -1
	for _, e := range r.received(sub) { // discarded ones that were in flight are among them, in their place
		require.Greater(t, position[e.MessageID], last, "once, and in order")
		last = position[e.MessageID]
	}
	s := r.topic("news")
	require.EqualValues(t, []uint64{uint64(discarded), uint64(delivered), 0, s.LastSequence}, []uint64{s.Discarded, s.Delivered, s.Pending, s.Cursor})

	r.halt()
	r.start(quick())
	r.add("news", 3)
	r.waitDelivered("news")
	require.Empty(t, r.alertKinds(), "that some are discarded is no amnesia")
	report, err := r.box.Verify(context.Background())
	require.NoError(t, err)
	require.Empty(t, report.Problems)
}

func TestDiscardingWhatRedisHasAcceptedAlreadyIsNoFork(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	sequences := r.add("news", 3)
	copied := r.path + ".copy" // of a file whose relay published, and died before it settled
	_, err := r.box.BackupFile(context.Background(), copied, outbox.BackupOptions{})
	require.NoError(t, err)
	r.start(quick())
	sub.WaitFor(3)
	r.halt()
	require.NoError(t, r.box.Close())
	_, err = outbox.Restore(context.Background(), copied, r.path, outbox.RestoreOptions{})
	require.NoError(t, err)
	r.open()
	_, err = r.box.Discard(context.Background(), sequences, outbox.DiscardOptions{Reason: "test"})
	require.NoError(t, err)
	r.start(quick())
	r.add("news", 2)
	r.waitDelivered("news")
	sub.WaitFor(5)
	r.requireComplete(sub, nil)
	require.Empty(t, r.alertKinds())
	stats, err := r.box.Stats(context.Background())
	require.NoError(t, err)
	require.EqualValues(t, 1, stats.Epoch)
	require.EqualValues(t, []uint64{3, 2}, []uint64{r.topic("news").Discarded, r.topic("news").Delivered})
}

func TestAHeldTopicWhoseEventsAreDiscardedHasNothingToWaitFor(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	opts := quick()
	opts.MinReceivers = map[string]int{"news": 1}
	opts.UntilEmpty = true
	sequences := r.add("news", 3)
	one := relay.New(r.box, r.front(), opts)
	ended := make(chan error, 1)
	go func() { ended <- one.Run(context.Background()) }()
	eventually(t, "it is held", func() bool { return one.Health().Topics["news"].State == relay.Held })
	_, err := r.box.Discard(context.Background(), sequences, outbox.DiscardOptions{Reason: "test"})
	require.NoError(t, err)
	require.NoError(t, <-ended, "nothing is pending any more")
}

// discardPending gives up everything that is pending for a topic, and says how many events that were.
func (r *rig) discardPending(topic string) int {
	r.t.Helper()
	pending, err := r.box.List(context.Background(), outbox.Filter{Topic: topic, State: outbox.Pending})
	require.NoError(r.t, err)
	require.NotEmpty(r.t, pending)
	var sequences []uint64
	for _, event := range pending {
		sequences = append(sequences, event.Sequence)
	}
	_, err = r.box.Discard(context.Background(), sequences, outbox.DiscardOptions{Reason: "test"})
	require.NoError(r.t, err)
	return len(sequences)
}
