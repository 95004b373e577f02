package relay_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// least are the rights without which nothing works, streamRights those that streams take in addition, optional those to notice
// restarts, to count subscribers and to spare slow ones.
var (
	least        = []any{"reset", "on", ">pw", "~matchrelay:*", "&test:*", "-@all", "+hello", "+evalsha", "+script|load", "+hmget", "+hset", "+expire", "+publish"}
	streamRights = []any{"~{test:*}:stream", "+xadd", "+exists", "+xrevrange"}
	optional     = []any{"+info", "+pubsub|numsub", "+client|list"}
)

// as lets the rig's relay log in as a user with the given rights.
func (r *rig) as(rights ...any) relay.Target {
	r.t.Helper()
	admin := r.server.Client()
	require.NoError(r.t, admin.Do(context.Background(), append([]any{"ACL", "SETUSER", "relay"}, rights...)...).Err())
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{r.server.Addr()}, Username: "relay", Password: "pw"})
	r.t.Cleanup(func() { require.NoError(r.t, client.Close()) })
	return relay.NewRedis(client, socketTimeout)
}

func TestAUserWithTheLeastRights(t *testing.T) {
	t.Parallel()
	t.Run("with the optional ones everything works", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, redistest.Options{})
		r.server.Start()
		opts := quick()
		opts.MinReceivers = map[string]int{"news": 1}
		r.startTarget(opts, r.as(append(least, optional...)...))
		r.add("news", 5)
		eventually(t, "it is held", func() bool { return r.relay.Health().Topics["news"].State == relay.Held })
		sub := r.subscribe(redistest.SubscriberOptions{})
		sub.WaitFor(5)
		r.waitDelivered("news")
		require.NoError(t, r.server.Client().Do(context.Background(), "DEL", "matchrelay:{test:news}:hwm:"+r.origin()).Err())
		r.add("news", 5)
		sub.WaitFor(11)
		require.Equal(t, []string{"redis_amnesia"}, r.alertKinds())
		r.requireComplete(sub, nil)
		require.NotEmpty(t, r.topic("news").Progress.Run)
		require.Equal(t, 1, r.relay.Health().Topics["news"].Receivers)
	})
	t.Run("without them it still delivers", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, redistest.Options{})
		r.server.Start()
		sub := r.subscribe(redistest.SubscriberOptions{})
		opts := quick()
		opts.MinReceivers = map[string]int{"news": 1}
		log := &logged{}
		opts.Logger = log.logger()
		r.startTarget(opts, r.as(least...))
		r.addMany("news", 300)
		for range 3 {
			r.addEvent(message("news", strings.Repeat("x", 3<<20)))
		}
		sub.WaitFor(303)
		r.waitDelivered("news")
		r.requireComplete(sub, nil)
		require.Equal(t, 1, log.count("sending at a fixed pace"), "nobody tells how far behind subscribers are")
		require.Equal(t, -1, r.relay.Health().Topics["news"].Receivers)
		sub.Close()
		r.waitSubscribers(r.server.Client(), 0)
		r.add("news", 1)
		r.waitDelivered("news")
		require.Equal(t, uint64(1), r.topic("news").Unheard, "PUBLISH itself tells that nobody heard")
	})
}

func (r *rig) origin() string {
	r.t.Helper()
	stats, err := r.box.Stats(context.Background())
	require.NoError(r.t, err)
	return stats.Origin
}

func TestTheRightToSeeTheRunIsGivenWhileTheRelayRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	began := time.Now()
	target := &target{Target: r.as(least...)}
	var guards atomic.Int64
	target.publish = func(next func() ([]relay.Reply, error), batches []relay.Batch) ([]relay.Reply, error) {
		guards.Add(1)
		return next()
	}
	r.startTarget(quick(), target)
	r.add("news", 1)
	r.waitDelivered("news")
	require.Empty(t, r.topic("news").Progress.Run)
	r.do("ACL", "SETUSER", "relay", "+info")
	r.add("news", 1)
	eventually(t, "the run is known, and what it has done is safe", func() bool {
		p := r.topic("news").Progress
		return p.Run != "" && p.TailFrom == 0 && r.topic("news").Pending == 0
	})
	require.Less(t, guards.Load(), 100+time.Since(began).Milliseconds()/50, "it does not spin")
}

func TestEachRightOfTheLeastIsNeeded(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	ctx := context.Background()
	rights := append(append([]any{}, least...), streamRights...)
	for i, right := range rights {
		if name := right.(string); name[0] == '+' && name != "+hello" { // older clients log in with AUTH alone
			without := append(append([]any{}, rights[:i]...), rights[i+1:]...)
			target := r.as(without...)
			require.NoError(t, r.server.Client().ScriptFlush(ctx).Err())
			err := target.Load(ctx)
			stream := relay.Stream{MaxLen: 10}
			for sequence := uint64(1); sequence < 3 && err == nil; sequence++ {
				batch := relay.Batch{Channel: "test:news", Origin: name, Stream: &stream,
					Events: []outbox.Entry{{Sequence: sequence, MessageID: "m", Payload: []byte("{}")}}}
				if sequence > 1 {
					batch.Predecessor = outbox.Mark{Sequence: sequence - 1, MessageID: "m"}
				}
				var replies []relay.Reply
				if replies, err = target.Publish(ctx, batch); err == nil {
					err = replies[0].Err
				}
			}
			if err == nil {
				_, err = target.Newest(ctx, "test:news", "")
			}
			require.Error(t, err, right)
		}
	}
}

// readmeRights reads a line of README that begins with ACL SETUSER.
func readmeRights(t *testing.T) (rights []any) {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	_, line, found := strings.Cut(string(readme), "ACL SETUSER matchrelay ")
	require.True(t, found)
	line, _, _ = strings.Cut(line, "\n")
	for _, word := range strings.Fields(strings.Replace(line, ">PASSWORD", ">pw", 1)) {
		rights = append(rights, word)
	}
	more := "`~{fogis:*}:stream +xadd +exists +xrevrange`"
	require.Contains(t, string(readme), more)
	for _, word := range strings.Fields(strings.Trim(more, "`")) {
		rights = append(rights, word)
	}
	return rights
}

func TestTheRightsThatREADMENamesAreEnoughForEverything(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	opts := streaming()
	opts.Channels = map[string]string{"news": "fogis:matches:updates", "alerts": "fogis:system:alerts"}
	opts.MinReceivers = map[string]int{"news": 1}
	log := &logged{}
	opts.Logger = log.logger()
	r.startTarget(opts, r.as(readmeRights(t)...))
	r.add("news", 5)
	eventually(t, "it is held", func() bool { return r.relay.Health().Topics["news"].State == relay.Held })
	sub := r.subscribe(redistest.SubscriberOptions{Channels: []string{"fogis:matches:updates"}, Keep: redistest.KeepMessageID})
	sub.WaitFor(5)
	large := message("news", strings.Repeat("x", 5<<20)) // the buffers are looked at
	r.addEvent(large)
	r.addEvent(large)
	r.do("DEL", "{fogis:matches:updates}:stream")
	r.add("news", 5)
	sub.WaitFor(12)
	r.waitDelivered("news")
	require.Equal(t, []string{"redis_amnesia"}, r.alertKinds())
	require.Equal(t, int64(12), r.server.Client().XLen(context.Background(), "{fogis:matches:updates}:stream").Val())
	require.NotEmpty(t, r.topic("news").Progress.Run)
	require.Zero(t, log.count("fixed pace"))
}

func TestLoginsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, password, says string
	}{
		{"no password", "", "set REDIS_PASSWORD"},
		{"a wrong password", "guess", "correct REDIS_USERNAME and REDIS_PASSWORD"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{Config: []string{"requirepass secret"}})
			r.server.Start()
			client := relay.NewClient(relay.ClientOptions{Addrs: []string{r.server.Addr()}, Password: c.password})
			defer client.Close()
			log := &logged{}
			opts := quick()
			opts.Logger = log.logger()
			r.add("news", 1)
			r.startTarget(opts, relay.NewRedis(client, socketTimeout))
			defer r.halt()
			eventually(t, "it is told", func() bool {
				h := r.relay.Health().Topics["news"]
				return h.State == relay.Blocked && strings.Contains(h.LastError, c.says)
			})
			for _, secret := range []string{"secret", "guess"} {
				require.Zero(t, log.count(secret))
				require.NotContains(t, r.relay.Health().LastError, secret)
			}
		})
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	keys := redistest.NewTLS(t, true)
	r := newRig(t, redistest.Options{TLS: keys})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	addr := keys.Addr()
	for _, c := range []struct {
		name string
		tls  *tls.Config
	}{
		{"an authority that is not known", &tls.Config{ServerName: "localhost", Certificates: keys.Pair}},
		{"another name", &tls.Config{ServerName: "elsewhere", RootCAs: keys.Pool, Certificates: keys.Pair}},
		{"no certificate of our own", &tls.Config{ServerName: "localhost", RootCAs: keys.Pool}},
	} {
		client := relay.NewClient(relay.ClientOptions{Addrs: []string{addr}, TLS: c.tls})
		r.startTarget(quick(), relay.NewRedis(client, socketTimeout))
		eventually(t, c.name, func() bool {
			h := r.relay.Health()
			return h.State == relay.Blocked && strings.Contains(h.LastError, "REDIS_TLS_CA")
		})
		r.halt()
		require.NoError(t, client.Close())
	}
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{addr}, TLS: &tls.Config{ServerName: "localhost", RootCAs: keys.Pool, Certificates: keys.Pair}})
	defer client.Close()
	r.startTarget(quick(), relay.NewRedis(client, socketTimeout))
	r.add("news", 5)
	sub.WaitFor(5)
	r.waitDelivered("news")
	r.halt()
}

func TestAnEmbeddedRedisThatKnowsNoRunID(t *testing.T) {
	t.Parallel()
	embedded := miniredis.RunT(t)
	r := newRig(t, redistest.Options{})
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{embedded.Addr()}, DialTimeout: socketTimeout})
	defer client.Close()
	listen := func() (*redis.PubSub, <-chan *redis.Message) {
		sub := redis.NewClient(&redis.Options{Addr: embedded.Addr(), Protocol: 2}).Subscribe(context.Background(), "test:news")
		_, err := sub.Receive(context.Background())
		require.NoError(t, err)
		return sub, sub.Channel(redis.WithChannelSize(1000))
	}
	sub, messages := listen()
	defer func() { _ = sub.Close() }()
	opts := quick()
	opts.MinReceivers = map[string]int{"news": 1}
	r.startTarget(opts, relay.NewRedis(client, socketTimeout))
	defer r.halt()
	expect := func(from, n int) {
		for i := range n {
			require.Equal(t, r.appended[from+i].MessageID, redistest.EnvelopeID([]byte((<-messages).Payload)), fmt.Sprint(from+i))
		}
	}
	r.addMany("news", 300)
	expect(0, 300)
	r.waitDelivered("news")
	embedded.Close()
	r.addMany("news", 300)
	eventually(t, "the outage is seen", func() bool { return r.relay.Health().Topics["news"].State == relay.RedisDown })
	require.NoError(t, sub.Close())
	require.NoError(t, embedded.Restart())
	sub, messages = listen()
	expect(300, 300)
	r.waitDelivered("news")
	embedded.FlushAll()
	r.addMany("news", 10)
	expect(600, 10)
	require.Equal(t, []string{"redis_amnesia"}, r.alertKinds())
}
