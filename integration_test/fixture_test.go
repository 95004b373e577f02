package integration_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// The two topics of the load, and their channels.
const updates, statuses, alerts = "match_updates", "processing_status", "system_alert"

var channels = map[string]string{updates: "test:updates", statuses: "test:statuses", alerts: "test:alerts"}

var topicOf = map[string]string{"test:updates": updates, "test:statuses": statuses, "test:alerts": alerts}

// relayOptions are the defaults but for shorter waits.
func relayOptions() relay.Options {
	return relay.Options{Channels: channels, RetryDelay: 20 * time.Millisecond, RetryMaxDelay: 200 * time.Millisecond,
		RejoinWait: 20 * time.Second, HealthInterval: time.Second, Alert: alertEvent}
}

func alertEvent(a relay.Alert) (outbox.Event, error) {
	e := newEvent(alerts, a.Kind)
	e.Urgent = true
	return e, nil
}

func newEvent(topic, text string) outbox.Event {
	id := uuid.NewString()
	body, err := json.Marshal(map[string]string{"message_id": id, "text": text})
	if err != nil {
		panic(err) // of strings
	}
	return outbox.Event{Topic: topic, MessageID: id, Payload: body}
}

var stateBucket = []byte("a processor's own state")

// commitStep writes one step of a processor: its own state and the events that follow from it, in one transaction. The
// state is a counter and, under each count, the message IDs of the step's events.
func commitStep(box *outbox.Outbox, before func(tx *bolt.Tx)) error {
	return box.Update(context.Background(), func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(stateBucket)
		if err != nil {
			return err
		}
		n := uint64(1)
		if k, _ := b.Cursor().Last(); k != nil {
			n = binary.BigEndian.Uint64(k) + 1
		}
		update := newEvent(updates, fmt.Sprint("update ", n))
		status := newEvent(statuses, fmt.Sprint("status ", n))
		if err := b.Put(binary.BigEndian.AppendUint64(nil, n), []byte(update.MessageID+status.MessageID)); err != nil {
			return err
		}
		if _, err := box.Append(tx, update, status); err != nil {
			return err
		}
		if before != nil {
			before(tx)
		}
		return nil
	})
}

// committed reads what the processor's state says was done: the history that subscribers must have seen.
func committed(t *testing.T, box *outbox.Outbox) (events []redistest.Event) {
	t.Helper()
	require.NoError(t, box.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(stateBucket)
		if b == nil {
			return nil
		}
		return b.ForEach(func(_, ids []byte) error {
			events = append(events, redistest.Event{Topic: updates, MessageID: string(ids[:36])},
				redistest.Event{Topic: statuses, MessageID: string(ids[36:])})
			return nil
		})
	}))
	return events
}

// logged reads the two topics of the log.
func logged(t *testing.T, box *outbox.Outbox) (events []redistest.Event) {
	t.Helper()
	list, err := box.List(context.Background(), outbox.Filter{})
	require.NoError(t, err)
	for _, info := range list {
		if info.Topic != alerts {
			events = append(events, redistest.Event{Topic: info.Topic, MessageID: info.MessageID})
		}
	}
	return events
}

func openBox(t *testing.T, path string) *outbox.Outbox {
	t.Helper()
	box, err := outbox.Open(path, outbox.Options{LockTimeout: redistest.Patience})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, box.Close()) })
	return box
}

func requireSound(t *testing.T, box *outbox.Outbox) {
	t.Helper()
	report, err := box.Verify(context.Background())
	require.NoError(t, err)
	require.Empty(t, report.Problems)
}

// drain delivers everything that is pending and returns.
func drain(t *testing.T, box *outbox.Outbox, addr string) {
	t.Helper()
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{addr}})
	defer client.Close()
	opts := relayOptions()
	opts.UntilEmpty = true
	ctx, cancel := context.WithTimeout(context.Background(), redistest.Patience)
	defer cancel()
	require.NoError(t, relay.New(box, relay.NewRedis(client, time.Second), opts).Run(ctx))
	require.NoError(t, ctx.Err(), "the outbox did not become empty in time")
}

// callTimeout is that of the relays' calls: a busy machine rarely takes longer, and if it does, that is one more outage.
const callTimeout = 3 * time.Second

// startRelay runs a relay until the returned function is called, or the test ends.
func startRelay(t *testing.T, box *outbox.Outbox, addr string, opts relay.Options) (r *relay.Relay, stop func()) {
	t.Helper()
	return startRelayAs(t, box, relay.ClientOptions{Addrs: []string{addr}}, opts)
}

// startRelayAs is startRelay to any Redis, as any user.
func startRelayAs(t *testing.T, box *outbox.Outbox, redis relay.ClientOptions, opts relay.Options) (r *relay.Relay, stop func()) {
	t.Helper()
	redis.DialTimeout = cmp.Or(redis.DialTimeout, callTimeout)
	client := relay.NewClient(redis)
	r = relay.New(box, relay.NewRedis(client, callTimeout), opts)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(t, <-done)
			require.NoError(t, client.Close())
		}
	}
	t.Cleanup(stop)
	return r, stop
}

// history is what a subscriber has received, without the relay's own alerts.
func history(sub *redistest.Subscriber) (events []redistest.Event) {
	for _, e := range redistest.Events(sub.Messages(), topicOf, redistest.EnvelopeID) {
		if e.Topic != alerts {
			events = append(events, e)
		}
	}
	return events
}

func subscribe(t *testing.T, server *redistest.Server, reconnect time.Duration) *redistest.Subscriber {
	t.Helper()
	sub := redistest.Subscribe(t, server.Addr(), redistest.SubscriberOptions{
		Channels: []string{"test:updates", "test:statuses", "test:alerts"}, Reconnect: reconnect})
	sub.WaitSubscribed(1)
	return sub
}

var eventually = redistest.Eventually

func waitEmpty(t *testing.T, box *outbox.Outbox) {
	t.Helper()
	eventually(t, "everything is settled", func() bool {
		stats, err := box.Stats(context.Background())
		require.NoError(t, err)
		for _, topic := range stats.Topics {
			if topic.Pending > 0 {
				return false
			}
		}
		return true
	})
}
