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

func TestACallOverASlowConnectionTellsWhatToDoAndCanBeSentAgain(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	proxy := redistest.NewProxy(t, server.Addr())
	o := relay.ClientOptions{Addrs: []string{proxy.Addr()}, DialTimeout: socketTimeout}
	target := examinee(t, o, socketTimeout)
	require.NoError(t, target.Load(t.Context()))
	impatient := examinee(t, o, 400*time.Millisecond)
	b := relay.Batch{Channel: "test:news", Origin: "o"}
	eventually(t, "Redis has answered once", func() bool {
		_, err := impatient.Publish(t.Context(), b)
		return err == nil
	})
	proxy.ThrottleCommands(1000)
	b.Events = []outbox.Entry{{Sequence: 1, MessageID: "m", Payload: []byte(strings.Repeat("x", 1_000_000))}} // a quarter of an hour
	_, err := impatient.Publish(t.Context(), b)
	_, mend := relay.Explain(err)
	require.Contains(t, mend, "raise REDIS_SOCKET_TIMEOUT", err)
	proxy.Heal()
	replies, err := target.Publish(t.Context(), b)
	require.NoError(t, err)
	require.Equal(t, outbox.Mark{Sequence: 1, MessageID: "m"}, replies[0].Mark)
}
