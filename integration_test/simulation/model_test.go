package simulation

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// The simulation is worth as much as its model of Redis. So whatever the relay's scripts are asked, in whatever state, the
// model must do what a real redis-server does: the same answers, marks, streams and messages.
func TestModel_AgreesWithARealServer(t *testing.T) {
	real := redistest.Start(t, redistest.Options{Persistence: redistest.AOF})
	admin := real.Client()
	rapid.Check(t, func(t *rapid.T) {
		p := newPair(t, real, admin)
		defer p.close()
		t.Repeat(map[string]func(*rapid.T){
			"publish":    p.publish,
			"publish on": p.publish,
			"backlog":    p.backlog,
			"guard":      p.guard,
			"republish":  p.republish,
			"restore":    p.restore,
			"newest":     p.newest,
			"group":      p.group,
			"read":       p.read,
			"forget":     p.forget,
			"fault":      p.fault,
			"subscribe":  p.subscribe,
			"restart":    p.restart,
			"":           p.compare,
		})
	})
}

const (
	pairChannel = "test:pair"
	pairOrigin  = "origin-1"
)

// pair is a real server and the model of one.
type pair struct {
	t      *rapid.T
	real   *redistest.Server
	admin  *redis.Client
	client redis.UniversalClient
	target *relay.Redis
	model  *server
	subs   []*redis.PubSub // of the real one, each beside one of the model
	stream *relay.Stream
}

var ctx = context.Background()

func newPair(t *rapid.T, real *redistest.Server, admin *redis.Client) *pair {
	p := &pair{t: t, real: real, admin: admin}
	for range 2 {
		p.subs = append(p.subs, nil)
	}
	clients := []*subscriber{{name: "a"}, {name: "b"}}
	for _, c := range clients {
		c.channels, c.rate = map[string]bool{pairChannel: true}, promptRate
	}
	p.model = newServer(persistAlways, clients, func(string, ...any) {})
	p.rights()
	require.NoError(t, admin.Do(ctx, "REPLICAOF", "NO", "ONE").Err())
	require.NoError(t, admin.ConfigSet(ctx, "maxmemory", "0").Err())
	require.NoError(t, admin.FlushAll(ctx).Err())
	p.client = relay.NewClient(relay.ClientOptions{Addrs: []string{real.Addr()}, Username: "relay", Password: "pw"})
	p.target = relay.NewRedis(p.client, time.Minute)
	p.load()
	p.model.run = p.runID()
	if rapid.Bool().Draw(t, "streams") {
		keep := rapid.SampledFrom([]int{5, 100, 10_000}).Draw(t, "keep")
		p.stream = &relay.Stream{MaxLen: keep, MaxUnread: keep + rapid.SampledFrom([]int{0, 50, 10_000}).Draw(t, "unread"), Source: "test", Topic: "pair"}
	}
	return p
}

func (p *pair) close() {
	for _, sub := range p.subs {
		if sub != nil {
			_ = sub.Close()
		}
	}
	_ = p.client.Close()
}

func (p *pair) load() {
	require.NoError(p.t, p.admin.ScriptFlush(ctx).Err())
	p.model.loaded = false
	if !p.model.has("noperm") {
		require.NoError(p.t, p.target.Load(ctx))
		p.model.loaded = true
	}
}

func (p *pair) runID() string {
	info, err := p.admin.Info(ctx, "server").Result()
	require.NoError(p.t, err)
	_, rest, _ := strings.Cut(info, "run_id:")
	return rest[:40]
}

// rights gives the relay's user what the model's faults leave it.
func (p *pair) rights() {
	rule := []any{"ACL", "SETUSER", "relay", "reset", "on", ">pw", "~*", "&*", "+@all"}
	for fault, command := range map[string]string{"noperm": "-evalsha", "noxadd": "-xadd", "nopublish": "-publish",
		"noinfo": "-info", "nonumsub": "-pubsub|numsub", "nolist": "-client|list"} {
		if p.model.has(fault) {
			rule = append(rule, command)
		}
	}
	require.NoError(p.t, p.admin.Do(ctx, rule...).Err())
}

// fault begins or ends a fault of both.
func (p *pair) fault(t *rapid.T) {
	name := rapid.SampledFrom([]string{"noperm", "noxadd", "nopublish", "noinfo", "nonumsub", "oom", "readonly", "scripts"}).
		Draw(t, "fault")
	on := rapid.IntRange(0, 2).Draw(t, "on") == 0
	if name == "scripts" {
		p.load()
		if on && !p.model.has("noperm") {
			require.NoError(t, p.admin.ScriptFlush(ctx).Err())
			p.model.loaded = false
		}
		return
	}
	delete(p.model.faults, name)
	if on {
		p.model.faults[name] = true
	}
	switch name {
	case "oom":
		limit := "0"
		if on {
			limit = "1"
		}
		require.NoError(t, p.admin.ConfigSet(ctx, "maxmemory", limit).Err())
	case "readonly":
		master := []any{"REPLICAOF", "NO", "ONE"}
		if on {
			master = []any{"REPLICAOF", "127.0.0.1", "1"}
		}
		require.NoError(t, p.admin.Do(ctx, master...).Err())
	default:
		p.rights()
	}
}

// forget removes keys of both.
func (p *pair) forget(t *rapid.T) {
	if p.model.has("readonly") {
		return
	}
	mark, stream := rapid.Bool().Draw(t, "mark"), rapid.Bool().Draw(t, "stream")
	p.model.evict(pairChannel, mark, stream)
	if mark {
		require.NoError(t, p.admin.Del(ctx, relay.MarkKey(pairChannel, pairOrigin)).Err())
	}
	if stream {
		require.NoError(t, p.admin.Del(ctx, relay.StreamKey(pairChannel)).Err())
	}
}

// subscribe has a subscriber of both come or go.
func (p *pair) subscribe(t *rapid.T) {
	i := rapid.IntRange(0, 1).Draw(t, "subscriber")
	c := p.model.clients[i]
	if p.subs[i] != nil {
		require.NoError(t, p.subs[i].Close())
		p.subs[i] = nil
		c.disconnect(farFuture)
		c.present = false
	} else {
		p.subs[i] = p.admin.Subscribe(ctx, pairChannel)
		_, err := p.subs[i].ReceiveTimeout(ctx, redistest.Patience)
		require.NoError(t, err)
		c.present, c.from = true, time.Now()
	}
	p.awaitSubscribers()
}

// awaitSubscribers waits until the real server has noticed who came and who left.
func (p *pair) awaitSubscribers() {
	for until := time.Now().Add(redistest.Patience); ; time.Sleep(time.Millisecond) {
		n, err := p.admin.PubSubNumSub(ctx, pairChannel).Result()
		require.NoError(p.t, err)
		if n[pairChannel] == int64(p.model.subscribed(pairChannel)) {
			return
		}
		if time.Now().After(until) {
			p.t.Fatalf("%d subscribers, expected %d", n[pairChannel], p.model.subscribed(pairChannel))
		}
	}
}

// restart kills both; each write was persisted.
func (p *pair) restart(t *rapid.T) {
	if rapid.IntRange(0, 9).Draw(t, "restart") != 0 {
		return
	}
	for i, sub := range p.subs {
		if sub != nil {
			p.receive(i)
			_ = sub.Close()
			p.subs[i] = nil
		}
		p.model.clients[i].present = false
	}
	kept := p.model.kill()
	p.real.Kill()
	p.real.Start()
	p.model.faults = map[string]bool{}
	p.model.start(kept)
	p.model.run = p.runID()
	p.rights()
	p.target = relay.NewRedis(p.client, time.Minute)
	for p.target.Load(ctx) != nil { // over a connection to the old process
	}
	p.model.loaded = true
}

// agree compares errors by their codes.
func (p *pair) agree(t *rapid.T, got, want error) {
	code := func(err error) string {
		if err == nil {
			return ""
		}
		for _, code := range []string{"NOSCRIPT", "NOPERM", "OOM", "READONLY", "MISCONF"} {
			if strings.Contains(err.Error(), code) {
				return code
			}
		}
		return err.Error()
	}
	require.Equal(t, code(want), code(got), "%v", errors.Join(want, got))
}

func same(t *rapid.T, got, want relay.Reply) {
	require.Equal(t, want.Err == nil, got.Err == nil, "%v %v", want.Err, got.Err)
	got.Err, want.Err = nil, nil
	require.Equal(t, want, got)
}

// compare looks at all that is there.
func (p *pair) compare(t *rapid.T) {
	hash, err := p.admin.HGetAll(ctx, relay.MarkKey(pairChannel, pairOrigin)).Result()
	require.NoError(t, err)
	m := p.now()
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	got := func(name string) string {
		if hash[name] == "" {
			return "0"
		}
		return hash[name]
	}
	require.Equal(t, number(m.published.Sequence), got("seq"))
	require.Equal(t, m.published.MessageID, hash["id"])
	require.Equal(t, number(m.added.Sequence), got("stream_seq"))
	require.Equal(t, m.added.MessageID, hash["stream_id"])
	require.Equal(t, number(m.redoSeq), got("redo_seq"))
	require.Equal(t, m.redoRun, hash["redo_run"])
	words := func(sequences []uint64) string {
		var list []string
		for _, n := range sequences {
			list = append(list, number(n))
		}
		return strings.Join(list, " ")
	}
	require.Equal(t, words(m.unheard), hash["unheard"])
	require.Equal(t, words(m.redoUnheard), hash["redo_unheard"])

	type entry struct {
		outbox.Mark
		predecessor string
	}
	var entries []entry
	for _, e := range p.model.store.streams[pairChannel].entries {
		entries = append(entries, entry{e.event, number(e.predecessor)})
	}
	stored, err := p.admin.XRange(ctx, relay.StreamKey(pairChannel), "-", "+").Result()
	require.NoError(t, err)
	var real []entry
	for _, e := range stored {
		n, err := strconv.ParseUint(e.Values["sequence"].(string), 10, 64)
		require.NoError(t, err)
		real = append(real, entry{outbox.Mark{Sequence: n, MessageID: e.Values["id"].(string)}, e.Values["predecessor"].(string)})
	}
	require.Equal(t, entries, real)
	for i := range p.subs {
		p.receive(i)
	}
}

// receive takes from a subscriber what the model's has got.
func (p *pair) receive(i int) {
	c := p.model.clients[i]
	c.drain(farFuture)
	if p.subs[i] == nil {
		c.got = nil
		return
	}
	for _, n := range c.got {
		m, err := p.subs[i].ReceiveTimeout(ctx, redistest.Patience)
		require.NoError(p.t, err, "%s is missing", p.model.log[n].event)
		require.Equal(p.t, "payload of "+p.model.log[n].event, strings.TrimRight(m.(*redis.Message).Payload, "."))
	}
	c.got = nil
}
