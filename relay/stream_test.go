package relay_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
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
	require.WithinDuration(t, before, at, 10*time.Second)
	delete(first, "time")
	require.Equal(t, map[string]any{"specversion": "1.0", "id": "one", "source": "a processor", "type": "news", "subject": "test:news",
		"dataschema": "https://example.org/news.json", "sequence": "1", "origin": r.origin(), "data": "{\"message_id\":\"one\" , \"a\":1.0}\r\n"}, first)
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

// amnesias are ways in which a living Redis forgets.
var amnesias = map[string]func(r *rig){
	"everything is flushed":            func(r *rig) { r.do("FLUSHALL") },
	"the mark is evicted":              func(r *rig) { r.do("DEL", r.markKey()) },
	"the stream is evicted":            func(r *rig) { r.do("DEL", newsStream) },
	"mark and stream are evicted":      func(r *rig) { r.do("DEL", r.markKey(), newsStream) },
	"mark and stream are older copies": func(r *rig) { r.rewind(7) },
	"only the mark is an older copy": func(r *rig) {
		e := r.entries()[3].Values
		r.do("HSET", r.markKey(), "seq", e["sequence"], "id", e["id"], "stream_seq", e["sequence"], "stream_id", e["id"])
	},
}

// rewind takes Redis back to when it had accepted n events of news.
func (r *rig) rewind(n int) {
	entries := r.entries()
	for _, e := range entries[n:] {
		r.do("XDEL", newsStream, e.ID)
	}
	last := entries[n-1].Values
	r.do("HSET", r.markKey(), "seq", last["sequence"], "id", last["id"], "stream_seq", last["sequence"], "stream_id", last["id"])
}

func TestAmnesiaWithAStream(t *testing.T) {
	t.Parallel()
	for name, forget := range amnesias {
		for _, idle := range []bool{false, true} {
			t.Run(name+map[bool]string{false: ", noticed by the next batch", true: ", noticed while idle"}[idle], func(t *testing.T) {
				t.Parallel()
				r := newRig(t, redistest.Options{})
				r.server.Start()
				sub := r.subscribe(redistest.SubscriberOptions{})
				opts := streaming()
				if !idle {
					opts.HealthInterval = time.Hour
				}
				r.start(opts)
				r.add("news", 5)
				r.addMany("news", 700) // more than one chunk of the repair
				sub.WaitFor(705)
				eventually(t, "it is idle, the tail is safe", func() bool { return r.topic("news").Pending == 0 && r.topic("news").Progress.TailFrom == 0 })
				forget(r)
				if !idle {
					r.add("news", 1)
				}
				eventually(t, "the amnesia is noticed", func() bool { return len(r.alertKinds()) > 0 })
				r.add("news", 10)
				sub.WaitFor(len(r.appended) + 1)
				r.waitDelivered("news")
				r.requireStream(r.news(), "complete, without repeats")
				r.requireComplete(sub, nil)
				require.Equal(t, []string{"redis_amnesia"}, r.alertKinds())
				h := r.relay.Health().Topics["news"]
				require.Equal(t, 1, h.Amnesias)
				require.Equal(t, map[string]int{"everything is flushed": 705, "the stream is evicted": 705, "mark and stream are evicted": 705,
					"mark and stream are older copies": 698}[name], h.Readded)
			})
		}
	}
}

func TestAStreamThatWasCutByHandIsLeftAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	r.start(streaming())
	r.add("news", 5)
	r.waitDelivered("news")
	r.do("XTRIM", newsStream, "MAXLEN", 0)
	r.add("news", 2)
	r.waitDelivered("news")
	r.requireStream(r.news()[5:])
	require.Empty(t, r.alertKinds())
	e := r.entries()[0].Values
	r.do("HSET", r.markKey(), "seq", e["sequence"], "id", e["id"]) // forgotten, but the stream's mark says that nothing is missing
	r.do("XTRIM", newsStream, "MAXLEN", 0)
	r.add("news", 1)
	r.waitDelivered("news")
	r.requireStream(r.news()[7:])
	require.Equal(t, []string{"redis_amnesia"}, r.alertKinds())
}

func TestOnlyWhatAStreamKeepsIsAddedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	opts := streaming()
	opts.StreamMaxLen = 100
	r.start(opts)
	r.addMany("news", 1000)
	r.waitDelivered("news")
	r.do("FLUSHALL")
	r.add("news", 1)
	r.waitDelivered("news")
	r.requireStream(r.news()[900:])
	require.Equal(t, 100, r.relay.Health().Topics["news"].Readded)
}

func TestARepairThatIsInterruptedGoesOnWithoutRepeats(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(next func() (relay.Reply, error)) (relay.Reply, error){
		"before a step": func(func() (relay.Reply, error)) (relay.Reply, error) { return relay.Reply{}, errors.New("cut off") },
		"after a step, its answer lost": func(next func() (relay.Reply, error)) (relay.Reply, error) {
			_, _ = next()
			return relay.Reply{}, errors.New("cut off")
		},
		"by another relay": func(next func() (relay.Reply, error)) (relay.Reply, error) {
			_, _ = next()
			return next() // the second finds another mark than it was told
		},
		"by a refusal": func(next func() (relay.Reply, error)) (relay.Reply, error) {
			return relay.Reply{Outcome: relay.Refused, Err: redisError("NOPERM")}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{})
			r.server.Start()
			sub := r.subscribe(redistest.SubscriberOptions{})
			front := r.front()
			var steps atomic.Int64
			front.restore = func(next func() (relay.Reply, error)) (relay.Reply, error) {
				if n := steps.Add(1); n%2 == 0 && n < 12 {
					return cut(next)
				}
				return next()
			}
			r.startTarget(streaming(), front)
			r.addMany("news", 1000)
			sub.WaitFor(1000)
			r.waitDelivered("news")
			r.do("FLUSHALL")
			r.add("news", 1)
			r.waitDelivered("news")
			r.requireStream(r.news())
			r.waitArrived(sub, r.appended)
			r.requireComplete(sub, nil)
		})
	}
}

func TestOfTwoRelaysOnlyOneFillsAnEmptyStream(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	front := r.front()
	second := make(chan relay.Reply, 1)
	front.restore = func(next func() (relay.Reply, error)) (relay.Reply, error) {
		reply, err := next()
		again, againErr := next()
		require.NoError(t, againErr)
		second <- again
		return reply, err
	}
	r.startTarget(streaming(), front)
	r.add("news", 5)
	r.waitDelivered("news")
	r.do("DEL", newsStream)
	r.add("news", 1)
	r.waitDelivered("news")
	require.Equal(t, relay.Lost, (<-second).Outcome)
	r.requireStream(r.news())
}

func TestWhatAnotherFileHasAddedIsNoReasonToSkipAnEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.start(streaming())
	r.add("news", 5)
	r.waitDelivered("news")
	r.halt()
	require.NoError(t, r.box.Close())
	copyFile(t, r.path, r.path+".copy")
	r.open()
	r.add("alerts", 1) // so that the next event of news is not the one after the last
	r.do("ACL", "SETUSER", "default", "-publish")
	r.start(streaming())
	original := r.addEvent(message("news", "added, but not published"))
	eventually(t, "it is in the stream", func() bool { return len(r.entries()) == 6 })
	r.halt()
	require.NoError(t, r.box.Close())

	copyFile(t, r.path+".copy", r.path)
	r.open()
	lost := r.appended[len(r.appended)-1]
	r.appended = r.appended[:5]
	r.do("ACL", "SETUSER", "default", "+publish")
	require.Less(t, r.add("news", 1)[0], original, "of this event the mark of the stream seems to know")
	r.start(streaming())
	r.add("news", 5)
	r.waitDelivered("news")
	r.requireComplete(sub, nil)
	r.requireStream(append([]string{r.appended[0].MessageID, r.appended[1].MessageID, r.appended[2].MessageID, r.appended[3].MessageID,
		r.appended[4].MessageID, lost.MessageID}, r.news()[5:]...))
	require.Contains(t, r.alertKinds(), "outbox_rolled_back")
}

func TestTwoRelaysRepairTogetherWithoutRepeats(t *testing.T) {
	t.Parallel()
	for _, name := range slices.Sorted(maps.Keys(amnesias)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{})
			r.server.Start()
			r.start(streaming())
			r.addMany("news", 1000)
			r.waitDelivered("news")
			r.halt()
			amnesias[name](r)
			ctx, stop := context.WithCancel(context.Background())
			ended := make(chan error, 2)
			for range 2 {
				other := relay.New(r.box, relay.NewRedis(r.client, time.Second), streaming())
				go func() { ended <- other.Run(ctx) }()
			}
			r.addMany("news", 500)
			r.waitDelivered("news")
			stop()
			require.NoError(t, errors.Join(<-ended, <-ended))
			r.requireStream(r.news())
		})
	}
}

func TestAFileThatIsPutBackNeitherLosesNorRepeatsInTheStream(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]func(r *rig){
		"Redis knows everything":                         func(*rig) {},
		"Redis has forgotten the mark, the stream tells": func(r *rig) { r.do("DEL", r.markKey()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{})
			r.server.Start()
			r.start(streaming())
			r.addMany("news", 300)
			r.waitDelivered("news")
			r.halt()
			r.addMany("news", 300) // pending in the copy
			require.NoError(t, r.box.Close())
			copyFile(t, r.path, r.path+".copy")
			r.open()
			r.start(streaming())
			r.addMany("news", 200)
			r.waitDelivered("news")
			r.halt()
			original := r.news()
			require.NoError(t, r.box.Close())
			copyFile(t, r.path+".copy", r.path)
			r.open()
			forget(r)
			r.appended = nil
			r.addMany("news", 400)
			r.start(streaming())
			r.waitDelivered("news")
			r.requireStream(append(original, r.news()...), "nothing again, nothing swallowed")
			require.Equal(t, []string{"outbox_rolled_back"}, r.alertKinds())
			r.halt()
			r.start(streaming())
			r.add("news", 3)
			r.waitDelivered("news")
			r.requireStream(append(original, r.news()...))
		})
	}
}

func TestAFreshOriginDoesNotForgetWhatTheStreamHasOfFormerOnes(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	r.start(streaming())
	r.addMany("news", 50)
	r.waitDelivered("news")
	r.halt()
	r.addMany("news", 50) // pending in the copy
	require.NoError(t, r.box.Close())
	copyFile(t, r.path, r.path+".copy")
	r.open()
	r.start(streaming())
	r.waitDelivered("news")
	r.halt()
	first := r.origin()
	r.foreignMark("news") // the file goes on elsewhere

	require.NoError(t, r.box.Close())
	copyFile(t, r.path+".copy", r.path)
	r.open()
	opts := streaming()
	opts.MinReceivers = map[string]int{"news": 1}
	r.start(opts)
	eventually(t, "it is held under a fresh origin", func() bool {
		return r.origin() != first && r.relay.Health().Topics["news"].State == relay.Held
	})
	r.halt()
	_, err := r.box.NewOrigin(context.Background(), r.origin()) // another copy, which was taken meanwhile
	require.NoError(t, err)
	for _, forget := range []func(){func() {}, func() { r.do("DEL", r.markKey()) }} {
		r.start(streaming())
		r.waitDelivered("news")
		r.requireStream(r.news())
		r.halt()
		forget()
	}
	r.do("DEL", r.markKey())
	r.start(streaming())
	r.add("news", 5)
	r.waitDelivered("news")
	r.requireStream(r.news())
}

func TestAnEventThatRedisDoesNotTakeAgainDoesNotStopTheRepair(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{Keep: redistest.KeepMessageID})
	log := &logged{}
	opts := streaming()
	opts.Logger = log.logger()
	r.start(opts)
	r.add("news", 5)
	for range 2 { // neighbours
		r.addEvent(message("news", strings.Repeat("x", 2<<20)))
	}
	r.add("news", 5)
	sub.WaitFor(12)
	r.waitDelivered("news")
	r.do("CONFIG", "SET", "proto-max-bulk-len", "1mb")
	r.do("FLUSHALL")
	r.add("news", 5)
	r.waitDelivered("news")
	r.requireStream(slices.Delete(r.news(), 5, 7))
	require.Equal(t, 2, log.count("gives up adding an event"))
	r.do("CONFIG", "SET", "proto-max-bulk-len", "512mb")
	r.do("FLUSHALL")
	r.add("news", 1)
	r.waitDelivered("news")
	r.requireStream(r.news(), "the next time they are tried again")
	require.Zero(t, r.topic("news").Parked)
	r.waitArrived(sub, r.appended)
	r.requireComplete(sub, nil)
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
