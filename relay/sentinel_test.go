package relay_test

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestACallInFlightOutlivesTheSentinelThatNamedTheMaster(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t, redistest.Options{})
	sentinels := redistest.StartSentinels(t, master, 3)
	client := relay.NewClient(relay.ClientOptions{Addrs: sentinels.Addrs(), SentinelMaster: redistest.MasterName, DialTimeout: sentinelTimeout})
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), redistest.Patience)
	defer cancel()
	require.NoError(t, client.Ping(ctx).Err())
	var asked *redistest.Server
	eventually(t, "the client listens to a Sentinel", func() bool {
		for _, s := range sentinels.Servers {
			if list, err := s.Client().Do(ctx, "CLIENT", "LIST", "TYPE", "pubsub").Text(); err == nil && list != "" {
				asked = s
			}
		}
		return asked != nil
	})
	waiting := make(chan error, 1)
	go func() { waiting <- client.BLPop(ctx, redistest.Patience, "list").Err() }()
	eventually(t, "the call is in flight", func() bool {
		blocked, err := master.Client().Info(ctx, "clients").Result()
		require.NoError(t, err)
		return strings.Contains(blocked, "blocked_clients:1")
	})
	asked.Kill()
	for range 3 { // each needs a connection of its own
		conn := make(chan error, 3)
		for range 3 {
			go func() { conn <- client.BLPop(ctx, time.Second, "nothing").Err() }()
		}
		for range 3 {
			require.ErrorContains(t, <-conn, "redis: nil")
		}
	}
	require.Empty(t, waiting, "it was not cut")
	require.NoError(t, master.Client().LPush(ctx, "list", "x").Err())
	require.NoError(t, <-waiting)
}

func TestADialHeedsItsContextWithTLSAsWell(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	require.NoError(t, err)
	defer silent.Close()
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{silent.Addr().String()}, SentinelMaster: "any",
		TLS: &tls.Config{InsecureSkipVerify: true}, DialTimeout: 8 * time.Second})
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), redistest.Patience)
	defer cancel()
	var away *relay.SentinelError
	require.ErrorAs(t, client.Ping(ctx).Err(), &away)
}
