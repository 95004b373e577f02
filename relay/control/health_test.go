package control

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

func (g *rig) health(want HealthStatus) Health {
	g.t.Helper()
	var h Health
	require.Eventually(g.t, func() bool {
		var err error
		h, err = g.client.Health(g.t.Context())
		require.NoError(g.t, err)
		return h.Status == want
	}, redistest.Patience, 5*time.Millisecond, "never %s", want)
	require.Equal(g.t, g.box.Path(), h.File.Path)
	require.NotZero(g.t, h.File.Inode)
	h.File = File{} // the rest is compared
	return h
}

func TestHealth(t *testing.T) {
	t.Run("of a process without a relay", func(t *testing.T) {
		g := startFull(t)
		require.Equal(t, Health{Status: Healthy}, g.health(Healthy))
	})
	t.Run("of a relay that ends, whose Redis goes, and that is paused", func(t *testing.T) {
		server := redistest.Start(t, redistest.Options{})
		client := relay.NewClient(relay.ClientOptions{Addrs: []string{server.Addr()}})
		defer client.Close()
		box := openBox(t)
		r := relay.New(box, relay.NewRedis(client, redistest.Patience), relay.Options{Channels: map[string]string{"system_alert": "alerts"},
			RejoinWait: -1, RetryDelay: 10 * time.Millisecond, RetryMaxDelay: 20 * time.Millisecond, HealthInterval: 20 * time.Millisecond})
		g := start(t, box, r, patient)
		require.Equal(t, Health{Status: Unhealthy, Reason: "the relay does not run", Relay: relay.NotRunning}, g.health(Unhealthy))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		require.Equal(t, Health{Status: Healthy, Relay: relay.Delivering}, g.health(Healthy))
		r.Pause()
		require.Equal(t, relay.Paused, g.health(Degraded).Relay)
		r.Resume()
		g.health(Healthy)
		server.Kill()
		h := g.health(Degraded)
		require.Equal(t, relay.RedisDown, h.Relay)
		require.Contains(t, h.Reason, "the relay is redis_down: ")
		server.Start()
		g.health(Healthy)
		cancel()
		require.NoError(t, <-ended)
		g.health(Unhealthy)
	})
	t.Run("of a relay in a process of its own", func(t *testing.T) {
		server := redistest.Start(t, redistest.Options{})
		g := start(t, openBox(t), nil, patient)
		client, err := Dial(g.path)
		require.NoError(t, err)
		defer client.Close()
		remote := deliverer{t, server}.attend(client, relay.Options{RejoinWait: -1, HealthInterval: 20 * time.Millisecond})
		within(t, remote.started)
		require.Eventually(t, func() bool { return g.health(Healthy).Relay == relay.Delivering }, redistest.Patience, time.Millisecond)
		server.Kill()
		require.Equal(t, relay.RedisDown, g.health(Degraded).Relay)
		require.NoError(t, remote.end())
		require.Equal(t, Health{Status: Healthy}, g.health(Healthy), "no relay is no failure of this process")
	})
	t.Run("of an outbox that has failed", func(t *testing.T) {
		box, err := outbox.Open(folder(t)+"/test.db", outbox.Options{})
		require.NoError(t, err)
		g := start(t, box, nil, patient)
		require.NoError(t, os.Rename(box.Path(), box.Path()+".away"))
		_, err = box.Add(t.Context(), outbox.Event{Topic: "t", MessageID: "1", Payload: []byte("x")})
		require.ErrorIs(t, err, outbox.ErrFailed)
		require.Contains(t, g.health(Unhealthy).Reason, "restart the process")
		require.NoError(t, box.Close())
		require.Contains(t, g.health(Unhealthy).Reason, "closed")
	})
	t.Run("reads nothing from the file, which may be damaged", func(t *testing.T) {
		box, err := outbox.Open(folder(t)+"/test.db", outbox.Options{})
		require.NoError(t, err)
		g := start(t, box, nil, patient)
		require.NoError(t, os.Truncate(box.Path(), 8192))
		require.Equal(t, Health{Status: Healthy}, g.health(Healthy))
		_, err = g.client.Status(t.Context())
		require.ErrorIs(t, err, outbox.ErrDamaged)
		require.Contains(t, g.health(Unhealthy).Reason, "was cut off to 8192")
		require.NoError(t, box.Close())
	})
}
