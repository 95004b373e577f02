package relay_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// foreignMark gives Redis a high-water mark that no file knows.
func (r *rig) foreignMark(topic string) {
	r.t.Helper()
	stats, err := r.box.Stats(context.Background())
	require.NoError(r.t, err)
	key := "matchrelay:{" + channels[topic] + "}:hwm:" + stats.Origin
	require.NoError(r.t, r.server.Client().HSet(context.Background(), key, "seq", 77, "id", "another").Err())
}

// calls are the methods of a source, each with what makes the relay call it while news is delivered.
var calls = []struct {
	method  string
	prepare func(r *rig)
}{
	{"Position", func(*rig) {}},
	{"Read", func(*rig) {}},
	{"Settle", func(*rig) {}},
	{"Flush", func(*rig) {}},
	{"Prune", func(*rig) {}},
	{"Park", func(r *rig) { r.addOversized() }},
	{"Add", func(r *rig) { r.addOversized() }}, // an alert
	{"MessageID", func(r *rig) { r.foreignMark("news") }},
	{"NewOrigin", func(r *rig) { r.foreignMark("news") }},
	{"Back", func(r *rig) { r.amnesia() }},
}

// amnesia lets Redis forget an event that it has accepted.
func (r *rig) amnesia() {
	r.t.Helper()
	opts := streaming()
	opts.UntilEmpty = true
	require.NoError(r.t, relay.New(r.box, r.front(), opts).Run(context.Background()))
	r.do("FLUSHALL")
}

func (r *rig) addOversized() {
	_, err := r.box.Add(context.Background(), oversized())
	require.NoError(r.t, err)
}

func TestRunEndsWithTheErrorOfAnOutboxThatHasFailed(t *testing.T) {
	t.Parallel()
	for _, call := range calls {
		if call.method == "Add" { // an alert that cannot be appended ends nothing; the next call does
			continue
		}
		t.Run(call.method, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{Config: []string{"proto-max-bulk-len 1mb"}})
			r.server.Start()
			r.add("news", 1)
			call.prepare(r)
			broken := fmt.Errorf("somewhere: %w", outbox.ErrFailed)
			opts := streaming()
			opts.RejoinWait = -1
			err := relay.New(failing(r.box, call.method, broken, -1), r.front(), opts).Run(context.Background())
			require.ErrorIs(t, err, outbox.ErrFailed)
		})
	}
}

func TestAFullDiskOfTheOutboxDelaysAndEndsNothing(t *testing.T) {
	requireDelay(t, outbox.ErrDiskFull, 2)
}

func TestDamagedPages_OfTheOutboxDelayAndEndNothing(t *testing.T) {
	requireDelay(t, outbox.ErrDamaged, 4) // with an alert each
}

// requireDelay lets each call of a source fail twice.
func requireDelay(t *testing.T, fault error, lines int) {
	t.Parallel()
	for _, call := range calls {
		t.Run(call.method, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{Config: []string{"proto-max-bulk-len 1mb"}})
			r.server.Start()
			sub := r.subscribe(redistest.SubscriberOptions{})
			r.add("news", 3)
			call.prepare(r)
			r.add("news", 3)
			log := &logged{}
			opts := streaming()
			opts.Logger = log.logger()
			source := failing(r.box, call.method, fmt.Errorf("somewhere: %w", fault), 2)
			r.startBetween(opts, source, r.front())
			r.waitDelivered("news")
			sub.WaitFor(6)
			eventually(t, "the fault has come and gone", func() bool { return source.left(call.method) == 0 || call.method == "Add" })
			eventually(t, "all is well", func() bool { return r.relay.Health().State == relay.Delivering })
			r.requireComplete(sub, nil)
			require.LessOrEqual(t, log.count(fault.Error()), lines, "no line for each retry")
		})
	}
}

func TestAnAlertThatCannotBeAppendedOrBuiltDoesNotKeepAFileFromItsFreshOrigin(t *testing.T) {
	t.Parallel()
	for name, build := range map[string]func(relay.Alert) (outbox.Event, error){
		"not appended": func(relay.Alert) (outbox.Event, error) {
			return outbox.Event{Topic: "alerts", MessageID: "no payload"}, nil
		},
		"not built": func(relay.Alert) (outbox.Event, error) { return outbox.Event{}, errors.New("no template") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{})
			r.server.Start()
			sub := r.subscribe(redistest.SubscriberOptions{})
			r.add("news", 5)
			r.foreignMark("news")
			opts := quick()
			opts.Alert = build
			r.start(opts)
			sub.WaitFor(5)
			r.waitDelivered("news")
			r.requireComplete(sub, nil)
			stats, err := r.box.Stats(context.Background())
			require.NoError(t, err)
			require.Equal(t, uint64(2), stats.Epoch)
		})
	}
}

func TestAnEventThatSomebodyElseHasDealtWithIsNotParkedAndTheTopicGoesOn(t *testing.T) {
	t.Parallel()
	for _, gone := range []error{outbox.ErrNotFound, outbox.ErrInvalid} {
		r := newRig(t, redistest.Options{Config: []string{"proto-max-bulk-len 1mb"}})
		r.server.Start()
		sub := r.subscribe(redistest.SubscriberOptions{})
		r.add("news", 2)
		r.addOversized()
		r.add("news", 2)
		opts := quick()
		opts.MaxRetries = 1
		r.startBetween(opts, failing(r.box, "Park", gone, 1), r.front())
		sub.WaitFor(4)
		r.waitDelivered("news")
		r.requireComplete(sub, nil)
	}
}

func TestDeliveredEventsArePrunedWhileTheRelayRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	require.NoError(t, r.box.Close())
	var err error
	r.box, err = outbox.Open(r.path, outbox.Options{Retention: time.Millisecond})
	require.NoError(t, err)
	r.server.Start()
	log := &logged{}
	opts := quick()
	opts.Logger = log.logger()
	r.start(opts)
	r.add("news", 5)
	r.waitDelivered("news")
	eventually(t, "they are gone", func() bool {
		stats, err := r.box.Stats(context.Background())
		require.NoError(t, err)
		return stats.Events == 0
	})
	eventually(t, "it is told", func() bool { return log.count("pruned") > 0 })
	r.add("news", 5)
	r.waitDelivered("news")
	require.Empty(t, r.alertKinds(), "a mark whose event is pruned is no sign of anything")
}

func TestTopicsMustNotShareAChannel(t *testing.T) {
	t.Parallel()
	opts := relay.Options{Channels: map[string]string{"news": "all", "alerts": "all"}}
	err := relay.New(nil, nil, opts).Run(context.Background())
	require.ErrorContains(t, err, "topics alerts and news have the same channel all; give each")
}

func TestARelayWithoutTopicsWaitsForItsEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	opts := quick()
	opts.Channels = nil
	r.start(opts)
	r.relay.RetryNow()
	require.Equal(t, relay.NotRunning, r.relay.Health().State)
	r.add("news", 1)
	r.halt()
	require.Equal(t, uint64(1), r.topic("news").Pending)
}

func TestAnOutboxThatFailsInTheMiddle(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method string
		when   func(batches []relay.Batch) bool
		lost   bool
	}{
		"when a mark disagrees":         {"Position", func(b []relay.Batch) bool { return len(b[0].Events) > 0 }, true},
		"when Redis has taken a batch":  {"Settle", func(b []relay.Batch) bool { return len(b[0].Events) > 0 }, false},
		"when the tail is to be reread": {"Read", func(b []relay.Batch) bool { return b[0].Run == "" && b[0].Predecessor.Sequence > 0 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{})
			r.server.Start()
			r.add("news", 1)
			source := failing(r.box, c.method, outbox.ErrFailed, 0) // not yet
			front := r.front()
			front.publish = func(next func() ([]relay.Reply, error), batches []relay.Batch) ([]relay.Reply, error) {
				if !c.when(batches) {
					return next()
				}
				source.failNow(c.method)
				if c.lost {
					return []relay.Reply{{Outcome: relay.Lost}}, nil
				}
				return next()
			}
			opts := quick()
			opts.UntilEmpty = c.method == "Read"
			err := relay.New(source, front, opts).Run(context.Background())
			if c.method == "Read" { // a second relay finds another Redis
				require.NoError(t, err)
				require.NoError(t, r.box.Settle(context.Background(), outbox.Receipt{Topic: "news", Through: 1, Origin: r.origin(),
					Progress: outbox.Progress{Accepted: outbox.Mark{Sequence: 1, MessageID: r.appended[0].MessageID}, Run: "another", TailFrom: 1}}))
				err = relay.New(source, front, opts).Run(context.Background())
			}
			require.ErrorIs(t, err, outbox.ErrFailed)
		})
	}
}

func TestAMarkThatOnlySeemedToDisagree(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	front := r.front()
	told := false
	front.publish = func(next func() ([]relay.Reply, error), batches []relay.Batch) ([]relay.Reply, error) {
		if batches[0].Channel == channels["news"] && len(batches[0].Events) > 0 && !told {
			told = true
			return []relay.Reply{{Outcome: relay.Lost, Mark: batches[0].Predecessor, Run: batches[0].Run}}, nil
		}
		return next()
	}
	r.startTarget(quick(), front)
	r.add("news", 3)
	sub.WaitFor(3)
	r.waitDelivered("news")
	r.requireComplete(sub, nil)
	require.Empty(t, r.alertKinds())
}

func TestAnotherTopicWasFirstToTakeAFreshOrigin(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.add("news", 3)
	r.foreignMark("news")
	front := r.front()
	front.publish = func(next func() ([]relay.Reply, error), batches []relay.Batch) ([]relay.Reply, error) {
		replies, err := next()
		if err == nil && replies[0].Outcome == relay.Lost {
			_, err := r.box.NewOrigin(context.Background(), batches[0].Origin)
			require.NoError(t, err)
		}
		return replies, err
	}
	r.startTarget(quick(), front)
	sub.WaitFor(3)
	r.waitDelivered("news")
	r.requireComplete(sub, nil)
	stats, err := r.box.Stats(context.Background())
	require.NoError(t, err)
	require.Equal(t, uint64(2), stats.Epoch)
}

// neverStored is an outbox that can store no receipt, because pages that they concern are damaged.
type neverStored struct{ *outbox.Outbox }

func (neverStored) Flush(context.Context) error {
	return fmt.Errorf("a page of it: %w", outbox.ErrDamaged)
}

func TestDamagedPages_ThatReceiptsConcernKeepNoEventWaiting(t *testing.T) {
	virtually(t, func(v virtual) {
		v.redis.subscribers(0) // what no one hears is to be stored at once
		v.startBetween(quick(), neverStored{v.box}, v.redis)
		v.add("news", 3)
		v.after(soon)
		require.Zero(t, v.pending())
		require.Equal(t, relay.Delivering, v.state())
		v.requireGot(nil)
	})
}
