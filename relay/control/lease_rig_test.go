package control

import (
	"bufio"
	"context"
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// deliverer makes relays of the topic news to one Redis.
type deliverer struct {
	t      *testing.T
	server *redistest.Server
}

func (d deliverer) build(opts relay.Options) func(relay.Source) *relay.Relay {
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{d.server.Addr()}})
	d.t.Cleanup(func() { require.NoError(d.t, client.Close()) })
	opts.Channels = map[string]string{"news": "test:news"}
	opts.RetryDelay, opts.RetryMaxDelay = 20*time.Millisecond, 100*time.Millisecond
	return func(source relay.Source) *relay.Relay {
		return relay.New(source, relay.NewRedis(client, redistest.Patience), opts)
	}
}

// remote is a relay over the socket.
type remote struct {
	t       *testing.T
	waiting chan string
	started chan *relay.Relay
	ended   chan error
	stop    context.CancelFunc
}

// attend runs a relay over the socket until stop is called.
func (d deliverer) attend(client *Client, opts relay.Options) *remote {
	return attend(d.t, client, d.build(opts))
}

func attend(t *testing.T, client *Client, build func(relay.Source) *relay.Relay) *remote {
	ctx, cancel := context.WithCancel(context.Background())
	r := &remote{t, make(chan string, 10), make(chan *relay.Relay, 1), make(chan error, 1), cancel}
	go func() {
		r.ended <- client.Relay(ctx, func(source relay.Source) *relay.Relay {
			built := build(source)
			r.started <- built
			return built
		}, func(by string) { r.waiting <- by })
	}()
	t.Cleanup(func() { cancel(); <-r.ended })
	return r
}

func (r *remote) end() error {
	r.stop()
	return r.wait()
}

// wait returns what the relay ended with.
func (r *remote) wait() error {
	r.t.Helper()
	err := within(r.t, r.ended)
	r.ended <- nil
	return err
}

// within is the next value of a channel.
func within[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(redistest.Patience):
		require.Fail(t, "nothing has come")
	}
	return v
}

func addNews(t *testing.T, box *outbox.Outbox, id string) uint64 {
	t.Helper()
	sequences, err := box.Add(context.Background(), outbox.Event{Topic: "news", MessageID: id, Payload: []byte(`{"message_id":"` + id + `"}`)})
	require.NoError(t, err)
	return sequences[0]
}

func (g *rig) waitDelivered() {
	g.t.Helper()
	require.Eventually(g.t, func() bool {
		stats, err := g.box.Stats(context.Background())
		require.NoError(g.t, err)
		for _, topic := range stats.Topics {
			if topic.Pending > 0 {
				return false
			}
		}
		return true
	}, redistest.Patience, time.Millisecond)
}

// silent takes a lease by hand, and is not heard of any more.
func (g *rig) silent() (lines *bufio.Scanner, number string, hangUp func() error) {
	g.t.Helper()
	response, err := g.client.web.Post("http://x/v1/relay?name=silent", "", nil)
	require.NoError(g.t, err)
	lines = bufio.NewScanner(response.Body)
	require.True(g.t, lines.Scan())
	var granted leaseLine
	require.NoError(g.t, json.Unmarshal(lines.Bytes(), &granted))
	require.NotZero(g.t, granted.Lease, lines.Text())
	return lines, strconv.FormatUint(granted.Lease, 10), response.Body.Close
}
