package control

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

// gate is a Redis whose calls can be held.
type gate struct {
	relay.Target
	closed atomic.Bool
	held   chan func() // each call, while it is closed: made when it is let, until Redis has answered
}

func (g *gate) Publish(ctx context.Context, batches ...relay.Batch) (replies []relay.Reply, err error) {
	if !g.closed.Load() {
		return g.Target.Publish(ctx, batches...)
	}
	answered := make(chan struct{})
	defer close(answered)
	let := make(chan struct{})
	select {
	case g.held <- func() { close(let); <-answered }:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-let:
	case <-ctx.Done(): // the test has failed
		return nil, ctx.Err()
	}
	for {
		if replies, err = g.Target.Publish(ctx, batches...); err == nil || ctx.Err() != nil {
			return replies, err
		}
		_ = g.Load(ctx) // a server that is new has no scripts
	}
}

func TestTheRelayIsSteered(t *testing.T) {
	server := redistest.New(t, redistest.Options{})
	box := openBox(t)
	web := relay.NewClient(relay.ClientOptions{Addrs: []string{server.Addr()}, DialTimeout: redistest.Patience})
	defer web.Close()
	target := &gate{Target: relay.NewRedis(web, redistest.Patience), held: make(chan func())}
	r := relay.New(box, target, relay.Options{Channels: map[string]string{"news": "test:news"},
		RetryDelay: time.Hour, RetryMaxDelay: time.Hour})
	g := start(t, box, r, patient)
	s, err := g.client.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, relay.NotRunning, s.Relay.State)

	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = r.Run(ctx) })
	defer running.Wait()
	defer cancel()
	waitFor := func(state relay.State) (h relay.Health) {
		t.Helper()
		require.Eventually(t, func() bool {
			s, err := g.client.Status(t.Context())
			require.NoError(t, err)
			h = *s.Relay
			return h.State == state
		}, redistest.Patience, 5*time.Millisecond)
		return h
	}
	h := waitFor(relay.RedisDown)
	require.NotEmpty(t, h.LastError)
	require.Equal(t, -1, h.Topics["news"].Receivers)
	many(t, box, 3)
	server.Start()
	sub := redistest.Subscribe(t, server.Addr(), redistest.SubscriberOptions{Channels: []string{"test:news"}})
	sub.WaitSubscribed(1)

	target.closed.Store(true)
	_, err = g.client.RetryNow(t.Context())
	require.NoError(t, err)
	look := <-target.held
	h, err = g.client.Pause(t.Context())
	require.NoError(t, err)
	require.Equal(t, relay.Paused, h.State)
	look() // it finds Redis, and three events that wait
	h, err = g.client.RetryNow(t.Context())
	require.NoError(t, err)
	require.Equal(t, relay.Paused, h.State)
	require.Empty(t, sub.Messages())
	select {
	case <-target.held:
		require.Fail(t, "a relay that is paused calls Redis")
	default:
	}
	target.closed.Store(false)
	h, err = g.client.Resume(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, relay.Paused, h.State)
	require.Eventually(t, func() bool { // the first tries come at once, with an hour between the later ones
		_, err := g.client.RetryNow(t.Context())
		require.NoError(t, err)
		return len(sub.Messages()) == 3
	}, redistest.Patience, 50*time.Millisecond)
	h = waitFor(relay.Delivering)
	require.Equal(t, 1, h.Topics["news"].Receivers)
	require.Equal(t, toJSON(t, r.Health()), toJSON(t, h))
}
