package relay_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// streaming are quick options with streams on.
func streaming() relay.Options {
	opts := quick()
	opts.Streams, opts.StreamMaxLen = true, 100_000
	return opts
}

// stream reads the whole stream of news, as message IDs.
func (r *rig) stream() (ids []string) {
	r.t.Helper()
	for _, m := range r.entries() {
		ids = append(ids, m.Values["id"].(string))
	}
	return ids
}

func (r *rig) entries() []redis.XMessage {
	r.t.Helper()
	entries, err := r.server.Client().XRange(context.Background(), newsStream, "-", "+").Result()
	require.NoError(r.t, err)
	return entries
}

// news are the message IDs of what was appended to news.
func (r *rig) news() (ids []string) {
	for _, e := range r.appended {
		if e.Topic == "news" {
			ids = append(ids, e.MessageID)
		}
	}
	return ids
}

// requireStream wants exactly these message IDs in the stream of news, in this order.
func (r *rig) requireStream(want []string, what ...any) {
	r.t.Helper()
	asEvents := func(ids []string) (events []redistest.Event) {
		for _, id := range ids {
			events = append(events, redistest.Event{Topic: "news", MessageID: id})
		}
		return events
	}
	findings := redistest.Check(asEvents(want), asEvents(r.stream()), nil)
	require.Empty(r.t, findings[:min(len(findings), 10)], what...)
	r.requirePredecessors(what...)
}

// requirePredecessors wants each entry to name the one before it, but where the stream lacks events that were appended in between:
// there it names one of those.
func (r *rig) requirePredecessors(what ...any) {
	r.t.Helper()
	place := map[any]int{}
	for i, id := range r.news() {
		place[id] = i + 1
	}
	entries := r.entries()
	for i := range entries[min(1, len(entries)):] {
		before, e := entries[i].Values, entries[i+1].Values
		if before["origin"] != e["origin"] || place[before["id"]] == 0 || place[e["id"]] == 0 {
			continue // of another file
		}
		predecessor, last := number(r.t, e["predecessor"]), number(r.t, before["sequence"])
		if place[e["id"]] == place[before["id"]]+1 {
			require.Equal(r.t, last, predecessor, what...)
		} else {
			require.Greater(r.t, predecessor, last, what...)
		}
		require.Less(r.t, predecessor, number(r.t, e["sequence"]), what...)
	}
}

func number(t *testing.T, field any) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(field.(string), 10, 64)
	require.NoError(t, err)
	return n
}

func (r *rig) markKey() string { return "matchrelay:{test:news}:hwm:" + r.origin() }

// do sends one command as an operator.
func (r *rig) do(args ...any) {
	r.t.Helper()
	require.NoError(r.t, r.server.Client().Do(context.Background(), args...).Err())
}

func TestAStreamHoldsEveryEventOnceBesideTheChannel(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	opts := streaming()
	opts.Source, opts.Schemas = "a processor", map[string]string{"news": "https://example.org/news.json"}
	r.start(opts)
	before := time.Now()
	r.addEvent(outbox.Event{Topic: "news", MessageID: "one", Payload: []byte("{\"message_id\":\"one\" , \"a\":1.0}\r\n")})
	r.add("alerts", 1)
	r.addMany("news", 700)
	sub.WaitFor(702)
	r.waitDelivered("news")
	r.waitDelivered("alerts")
	r.requireStream(r.news())
	r.requireComplete(sub, nil)

	first := r.entries()[0].Values
	at, err := time.Parse(time.RFC3339Nano, first["time"].(string))
	require.NoError(t, err)
	require.WithinRange(t, at, before, time.Now())
	delete(first, "time")
	require.Equal(t, map[string]any{"specversion": "1.0", "id": "one", "source": "a processor", "type": "news", "subject": "test:news",
		"dataschema": "https://example.org/news.json", "sequence": "1", "predecessor": "0", "origin": r.origin(), "data": "{\"message_id\":\"one\" , \"a\":1.0}\r\n"}, first)
	alert := r.server.Client().XRange(context.Background(), relay.StreamKey("test:alerts"), "-", "+").Val()[0].Values
	require.NotContains(t, alert, "dataschema")
	require.Equal(t, "2", alert["sequence"], "one counter for the whole outbox")
}

func TestAStreamIsTrimmed(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	opts := streaming()
	opts.StreamMaxLen = 300
	r.start(opts)
	r.addMany("news", 2000)
	r.waitDelivered("news")
	got := r.stream()
	require.GreaterOrEqual(t, len(got), 300)
	require.Less(t, len(got), 500, "Redis trims by whole nodes of 100")
	require.Equal(t, r.news()[2000-len(got):], got)
}

func TestOneOfPublishAndAddIsDeniedForAWhile(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"publish", "xadd"} {
		for name, during := range map[string]func(r *rig){
			"and nothing else happens":    func(*rig) {},
			"and the relay is restarted":  func(r *rig) { r.halt(); r.start(streaming()) },
			"and the mark is evicted":     func(r *rig) { r.do("DEL", r.markKey()) },
			"and everything is forgotten": func(r *rig) { r.do("FLUSHALL") },
		} {
			t.Run(command+" is denied, "+name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, redistest.Options{})
				r.server.Start()
				sub := r.subscribe(redistest.SubscriberOptions{})
				r.start(streaming())
				r.add("news", 5)
				sub.WaitFor(5)
				r.waitDelivered("news")
				r.do("ACL", "SETUSER", "default", "-"+command)
				r.addMany("news", 300)
				eventually(t, "it is refused", func() bool {
					h := r.relay.Health().Topics["news"]
					return h.State == relay.Blocked && strings.Contains(h.LastError, "+xadd")
				})
				during(r)
				eventually(t, "it is still refused", func() bool { return r.relay.Health().Topics["news"].State == relay.Blocked })
				require.Len(t, r.received(sub), 5)
				r.do("ACL", "SETUSER", "default", "+"+command)
				r.waitDelivered("news")
				r.waitArrived(sub, r.appended)
				r.requireComplete(sub, nil)
				r.requireStream(r.news())
				require.Zero(t, r.topic("news").Parked)
			})
		}
	}
}

func TestStreamsAreTurnedOnAndOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	var inStream []string
	for i, opts := range []relay.Options{quick(), streaming(), quick(), streaming()} {
		before := len(r.appended)
		r.start(opts)
		r.add("news", 5)
		r.addMany("news", 300)
		r.waitDelivered("news")
		r.halt()
		if opts.Streams {
			inStream = append(inStream, r.news()[before:]...)
			r.requireStream(inStream, fmt.Sprint("round ", i))
		}
	}
	r.waitArrived(sub, r.appended)
	r.requireComplete(sub, nil)
	require.Empty(t, r.alertKinds())
}

func TestAKeyOfAnotherKindInTheStreamsPlaceBlocksUntilItIsGone(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.do("SET", newsStream, "something else")
	r.start(streaming())
	r.add("news", 5)
	eventually(t, "it is told", func() bool {
		h := r.relay.Health().Topics["news"]
		return h.State == relay.Blocked && strings.Contains(h.LastError, "rename or delete it")
	})
	require.Empty(t, r.received(sub), "nothing is published that is not in the stream")
	r.do("DEL", newsStream)
	r.waitDelivered("news")
	r.waitArrived(sub, r.appended)
	r.requireComplete(sub, nil)
	r.requireStream(r.news())
}
