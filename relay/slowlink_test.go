package relay_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestACallOverASlowConnectionEndsAfterSomeTimeOuts(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	proxy := redistest.NewProxy(t, server.Addr())
	target := examinee(t, relay.ClientOptions{Addrs: []string{proxy.Addr()}, DialTimeout: time.Second}, 400*time.Millisecond)
	require.NoError(t, target.Load(t.Context()))
	b := relay.Batch{Channel: "test:news", Origin: "o"}
	_, err := target.Publish(t.Context(), b)
	require.NoError(t, err)
	proxy.ThrottleCommands(1_000_000)
	b.Events = []outbox.Entry{{Sequence: 1, MessageID: "m", Payload: []byte(strings.Repeat("x", 1_000_000))}} // a second
	var replies []relay.Reply
	timeouts := 0
	for replies, err = target.Publish(t.Context(), b); err != nil; replies, err = target.Publish(t.Context(), b) {
		_, mend := relay.Explain(err)
		require.Contains(t, mend, "raise REDIS_SOCKET_TIMEOUT", err)
		timeouts++
		require.Less(t, timeouts, 6)
	}
	require.Positive(t, timeouts)
	require.Equal(t, outbox.Mark{Sequence: 1, MessageID: "m"}, replies[0].Mark)
}
