package relay_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// newTarget is the rig's Redis, running and with the scripts in it.
func (r *rig) newTarget() *relay.Redis {
	r.t.Helper()
	r.server.Start()
	target := relay.NewRedis(r.client, redistest.Patience)
	require.NoError(r.t, target.Load(context.Background()))
	return target
}

// batch has the event with a sequence and a message ID, which follows another one.
func batch(predecessor outbox.Mark, sequence uint64, id string) relay.Batch {
	return relay.Batch{Channel: "test:news", Origin: originA, Predecessor: predecessor,
		Events: []outbox.Entry{{Topic: "news", Sequence: sequence, MessageID: id, Payload: []byte(`{"message_id":"` + id + `"}`)}}}
}

func publish(t *testing.T, target relay.Target, b relay.Batch) relay.Reply {
	t.Helper()
	replies, err := target.Publish(context.Background(), b)
	require.NoError(t, err)
	require.Len(t, replies, 1)
	return replies[0]
}

func TestPublish_InsistsOnTheRunOfRedis(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	target := r.newTarget()
	sub := r.subscribe(redistest.SubscriberOptions{})
	b := batch(outbox.Mark{}, 1, "m-1")
	b.Run = "0123456789abcdef0123456789abcdef01234567"
	refused := publish(t, target, b)
	require.Equal(t, relay.OtherRun, refused.Outcome)
	require.Zero(t, refused.Published)
	require.Zero(t, refused.Mark)
	b.Run = refused.Run
	require.Equal(t, relay.OK, publish(t, target, b).Outcome)
	sub.WaitFor(1)
	require.Len(t, sub.Messages(), 1)
}

func TestPublish_ComparesTheMessageIDOfThePredecessor(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	target := r.newTarget()
	require.Equal(t, relay.OK, publish(t, target, batch(outbox.Mark{}, 1, "m-1")).Outcome)
	other := publish(t, target, batch(outbox.Mark{Sequence: 1, MessageID: "other"}, 2, "m-2"))
	require.Equal(t, relay.Lost, other.Outcome, "the file is another one than that of which Redis has an event #1")
	require.Equal(t, outbox.Mark{Sequence: 1, MessageID: "m-1"}, other.Mark)
	require.Equal(t, relay.OK, publish(t, target, batch(other.Mark, 2, "m-2")).Outcome)
}

func TestPublish_SendsNothingWhileRedisTakesNoWrites(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	target := r.newTarget()
	sub := r.subscribe(redistest.SubscriberOptions{})
	admin := r.server.Client()
	require.NoError(t, admin.ConfigSet(context.Background(), "maxmemory", "1").Err())
	_, err := target.Publish(context.Background(), batch(outbox.Mark{}, 1, "m-1"))
	require.ErrorContains(t, err, "OOM", "without a stream, where nothing is written but the mark")
	require.NoError(t, admin.ConfigSet(context.Background(), "maxmemory", "0").Err())
	require.Equal(t, relay.OK, publish(t, target, batch(outbox.Mark{}, 1, "m-1")).Outcome)
	sub.WaitFor(1)
	require.Len(t, sub.Messages(), 1)
}

func TestPublish_MarksWhatRedisTookBeforeItRefusedTheRest(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	target := r.newTarget()
	sub := r.subscribe(redistest.SubscriberOptions{})
	admin := r.server.Client()
	ctx := context.Background()
	require.NoError(t, admin.Do(ctx, "XGROUP", "CREATE", newsStream, "maker", "$", "MKSTREAM").Err())
	require.NoError(t, admin.Do(ctx, "XSETID", newsStream, "18446744073709551615-18446744073709551613").Err()) // two IDs are left
	b := batch(outbox.Mark{}, 1, "m-1")
	for n := uint64(2); n <= 4; n++ {
		b.Events = append(b.Events, batch(outbox.Mark{}, n, fmt.Sprint("m-", n)).Events...)
	}
	b.Stream = &relay.Stream{MaxLen: 1000, Source: "test", Topic: "news"}
	refused := publish(t, target, b)
	require.Equal(t, relay.Refused, refused.Outcome)
	second := outbox.Mark{Sequence: 2, MessageID: "m-2"}
	require.Equal(t, []any{second, second, 2}, []any{refused.Mark, refused.Added, refused.Published})

	b.Stream = nil
	rest := publish(t, target, b)
	require.Equal(t, relay.OK, rest.Outcome)
	require.Equal(t, 2, rest.Published, "nothing is skipped that was refused, and nothing repeated")
	sub.WaitFor(4)
	require.Len(t, sub.Messages(), 4)
}

func TestPublish_SkipsNothingInTheStreamThatItsCallerDoesNotKnow(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	target := r.newTarget()
	admin := r.server.Client()
	ctx := context.Background()
	require.Equal(t, relay.OK, publish(t, target, batch(outbox.Mark{}, 1, "m-1")).Outcome)
	require.NoError(t, admin.XAdd(ctx, entryOf("test:news", originA, 2, "theirs", "x")).Err())
	require.NoError(t, admin.HSet(ctx, relay.MarkKey("test:news", originA), "stream_seq", 2, "stream_id", "theirs").Err())
	b := batch(outbox.Mark{Sequence: 1, MessageID: "m-1"}, 2, "ours")
	b.Stream = &relay.Stream{MaxLen: 1000, Source: "test", Topic: "news"}
	b.Added = outbox.Mark{Sequence: 2, MessageID: "ours"}
	unknown := publish(t, target, b)
	require.Equal(t, relay.Lost, unknown.Outcome, "the stream has another event with that number")
	theirs := outbox.Mark{Sequence: 2, MessageID: "theirs"}
	require.Equal(t, theirs, unknown.Added)
	require.EqualValues(t, 1, admin.XLen(ctx, newsStream).Val())
	b.Added = theirs
	require.Equal(t, relay.OK, publish(t, target, b).Outcome)
	require.EqualValues(t, 1, admin.XLen(ctx, newsStream).Val(), "what the caller knows is not added again")
}
