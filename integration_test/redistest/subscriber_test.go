package redistest

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func TestASubscriberKeepsEveryMessageInOrderAndComesBack(t *testing.T) {
	ctx := context.Background()
	s := New(t, Options{})
	sub := Subscribe(t, s.Addr(), SubscriberOptions{Channels: []string{"a", "b"}})
	sub.Cut() // not connected yet: nothing to cut
	s.Start()
	sub.WaitSubscribed(1)

	client := s.Client()
	large := strings.Repeat("å\r\n", 100_000)
	for _, m := range []struct{ channel, payload string }{{"a", "1"}, {"b", "2"}, {"a", ""}, {"b", large}} {
		require.EqualValues(t, 1, client.Publish(ctx, m.channel, m.payload).Val())
	}
	got := sub.WaitFor(4)
	require.Equal(t, []string{"1", "2", "", large}, payloads(got))
	require.Equal(t, []string{"2", large}, payloads(sub.Messages("b")))
	require.Empty(t, sub.Messages("c"))
	require.WithinDuration(t, time.Now(), got[0].At, Patience)

	sub.Cut()
	sub.WaitSubscribed(2)
	client.Publish(ctx, "a", "after the cut")
	require.Equal(t, 2, sub.WaitFor(5)[4].Connection)

	s.Kill()
	s.Start()
	sub.WaitSubscribed(3)
	s.Client().Publish(ctx, "a", "after the restart")
	require.Equal(t, "after the restart", string(sub.WaitFor(6)[5].Payload))

	sub.Close()
	sub.Close()
	require.Len(t, sub.Messages(), 6)
}

func payloads(messages []Message) []string {
	var out []string
	for _, m := range messages {
		out = append(out, string(m.Payload))
	}
	return out
}

func TestASubscriberAsksWhereToConnect(t *testing.T) {
	ctx := context.Background()
	one, two := Start(t, Options{}), Start(t, Options{})
	asked := 0
	sub := Subscribe(t, "", SubscriberOptions{Channels: []string{"ch"}, Resolve: func() string {
		asked++
		return []string{"", one.Addr(), two.Addr()}[min(asked, 3)-1]
	}})
	sub.WaitSubscribed(1)
	require.Equal(t, 1, sub.Connections(), "that there is nothing to connect to is no connection")
	require.Zero(t, sub.Disconnections())
	require.EqualValues(t, 1, one.Client().Publish(ctx, "ch", "from one").Val())
	sub.WaitFor(1)

	one.Kill()
	sub.WaitDisconnected(1)
	sub.WaitSubscribed(2)
	require.EqualValues(t, 1, two.Client().Publish(ctx, "ch", "from two").Val())
	require.Equal(t, []string{"from one", "from two"}, payloads(sub.WaitFor(2)))

	sub.Close()
	require.Equal(t, 2, sub.Connections())
	require.Equal(t, 1, sub.Disconnections(), "closing it is no disconnection")
}

func TestASubscriberKeepsNoMoreThanItIsToldTo(t *testing.T) {
	ctx := context.Background()
	s := Start(t, Options{})
	sub := Subscribe(t, s.Addr(), SubscriberOptions{Channels: []string{"ch"}, Keep: KeepMessageID})
	tail := Subscribe(t, s.Addr(), SubscriberOptions{Channels: []string{"ch"}, Keep: func(p []byte) []byte { return p[:1] }})
	sub.WaitSubscribed(1)
	tail.WaitSubscribed(1)

	const n, size = 5000, 2000
	client := s.Client()
	var appended []Event
	for i := range n {
		appended = append(appended, Event{"news", fmt.Sprint("m", i)})
	}
	for page := range slices.Chunk(appended, 500) {
		_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, e := range page {
				p.Publish(ctx, "ch", fmt.Sprintf("%-*s", size, fmt.Sprintf(`{"message_id":%q}`, e.MessageID)))
			}
			return nil
		})
		require.NoError(t, err)
	}
	got := sub.WaitFor(n)
	require.Equal(t, n, sub.Count())
	require.Empty(t, Check(appended, Events(got, map[string]string{"ch": "news"}, EnvelopeID), nil))
	tail.WaitFor(n)
	for _, m := range append(tail.Messages(), got...) {
		require.Equal(t, size, m.Size)
		require.LessOrEqual(t, cap(m.Payload), 64)
	}
	require.Equal(t, n, sub.Count(), "appending to what it returned changes nothing")
}

func TestKeptOfWhatIsNoEnvelopeIsNoEnvelopeEither(t *testing.T) {
	require.Equal(t, EnvelopeID([]byte("no")), EnvelopeID(KeepMessageID([]byte("no"))))
	require.Equal(t, `å"`, EnvelopeID(KeepMessageID([]byte(`{"message_id":"å\"","more":1}`))))
}

func TestAThrottledSubscriberIsNoFasterThanItsBound(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	const perSecond, n, size = 200_000, 60, 5000 // 1.5 seconds
	s := Start(t, Options{})
	prompt := Subscribe(t, s.Addr(), SubscriberOptions{Channels: []string{"ch"}})
	slow := Subscribe(t, s.Addr(), SubscriberOptions{Channels: []string{"ch"}, BytesPerSecond: perSecond})
	prompt.WaitSubscribed(1)
	slow.WaitSubscribed(1)
	start := time.Now()
	for range n {
		require.EqualValues(t, 2, s.Client().Publish(ctx, "ch", strings.Repeat("x", size)).Val())
	}
	prompt.WaitFor(n)
	got := slow.WaitFor(n)
	require.Less(t, n*size/got[n-1].At.Sub(start).Seconds(), 1.1*perSecond)
}

func TestAThrottledSubscriberMakesRedisWaitAndIsCutOff(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := Start(t, Options{Config: []string{"client-output-buffer-limit pubsub 1mb 1mb 0"}})
	sub := Subscribe(t, s.Addr(), SubscriberOptions{Channels: []string{"ch"}, BytesPerSecond: 100_000, Reconnect: time.Hour})
	sub.WaitSubscribed(1)
	client, large := s.Client(), strings.Repeat("x", 100_000)
	published := 0
	for client.Publish(ctx, "ch", large).Val() == 1 {
		published++
		// The kernel buffers some megabytes between the two at most.
		require.Less(t, published, 200, "Redis does not feel that the subscriber is slow")
	}
	require.Greater(t, published, 10)
	require.Less(t, sub.Count(), published)
}

func TestAThrottleAllowsNoBurstAfterAPause(t *testing.T) {
	t.Parallel()
	in, out := net.Pipe()
	defer in.Close()
	go func() {
		defer out.Close()
		_, _ = out.Write(make([]byte, 1000))
		time.Sleep(200 * time.Millisecond) // the pause
		_, _ = out.Write(make([]byte, 5000))
	}()
	start := time.Now()
	n, err := io.Copy(io.Discard, &throttle{in: in, perSecond: 20_000})
	require.NoError(t, err)
	require.EqualValues(t, 6000, n)
	require.Greater(t, time.Since(start), 400*time.Millisecond, "50 ms, the pause, 250 ms, but for what it may catch up with")
}
