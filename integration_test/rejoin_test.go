package integration_test

import (
	"maps"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/relay/control"
)

// bounce kills Redis and starts it again at once. It returns what Redis may have taken with it.
func (l *load) bounce(server *redistest.Server) (mayRepeat map[string]bool) {
	l.t.Helper()
	l.waitSafe()
	tail := tailsOf(l.t, l.box)
	server.Kill()
	given := l.appended()
	server.Start()
	return tail.mayRepeat(l.t, l.box, given)
}

// rejoins is what the relay says of its waits for subscribers, by topic: one for each death of Redis.
type rejoins map[string][]rejoin

type rejoin struct {
	before    string        // how many subscribers it waits for, "" if all are there at once
	receivers string        // how many are there when it goes on
	waited    time.Duration // by its own clock
}

// rejoins returns them when there are n of each topic.
func (l *load) rejoins(n int) (found rejoins) {
	l.t.Helper()
	eventually(l.t, "each topic has rejoined "+strconv.Itoa(n)+" times", func() bool {
		found = rejoins{}
		began := map[string]time.Time{}
		now := map[string]rejoin{}
		for _, record := range l.log.with("waiting for the subscribers", "delivering again") {
			attrs := attrsOf(record)
			topic := attrs["topic"]
			if before, waits := attrs["before"]; waits {
				if began[topic].IsZero() {
					began[topic], now[topic] = record.Time, rejoin{before: before}
				}
				continue
			}
			r := now[topic]
			if r.receivers = attrs["receivers"]; r.before != "" {
				r.waited = record.Time.Sub(began[topic])
			}
			found[topic] = append(found[topic], r)
			delete(began, topic)
			delete(now, topic)
		}
		for topic := range channels {
			if len(found[topic]) < n {
				return false
			}
		}
		return true
	})
	return found
}

// requireSameFirst wants two subscribers to have the same first message of a connection on each channel: nothing was
// published before both were there.
func requireSameFirst(t *testing.T, a, b *redistest.Subscriber, connection int) {
	t.Helper()
	first := func(sub *redistest.Subscriber, channel string) (id string) {
		eventually(t, "the first message on "+channel, func() bool {
			for _, m := range sub.Messages(channel) {
				if m.Connection == connection {
					id = redistest.EnvelopeID(m.Payload)
					return true
				}
			}
			return false
		})
		return id
	}
	for _, channel := range channels {
		require.Equal(t, first(a, channel), first(b, channel), channel)
	}
}

func TestRejoin_WaitsByDefaultForASubscriberThatComesBackLate(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{Persistence: redistest.AOF})
	opts := relayOptions()
	opts.RejoinWait = 0 // the default
	require.Greater(t, relay.DefaultRejoinWait, time.Minute)
	opts.MinReceivers = map[string]int{statuses: 1}
	soon := subscribe(t, server, time.Second)
	var away atomic.Bool
	late := follow(t, func() string {
		if away.Load() {
			return ""
		}
		return server.Addr()
	}, 0)
	l := startLoad(t, relay.ClientOptions{Addrs: []string{server.Addr()}}, opts, map[string]*redistest.Subscriber{"soon": soon, "late": late})
	var mayRepeat map[string]bool
	l.during(25*pace, func() {
		away.Store(true)
		mayRepeat = l.bounce(server)
		l.waitTopics("waiting for the subscribers")
		<-time.After(15 * time.Second) // longer than all others take
		require.Empty(t, l.log.with("delivering again"), "nothing is published meanwhile")
		away.Store(false)
		for topic, waits := range l.rejoins(1) {
			require.Equal(t, "2", waits[0].before, topic)
			require.Equal(t, "2", waits[0].receivers, topic)
			require.Less(t, waits[0].waited, relay.DefaultRejoinWait, "%s: it notices", topic)
		}
		requireSameFirst(t, soon, late, 2)
	})
	l.requireWhole(server.Client(), mayRepeat)
	require.Empty(t, l.alerted())
}

func TestRejoin_WaitsOnceForASubscriberThatNeverComesBack(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{Persistence: redistest.AOF})
	opts := relayOptions()
	opts.RejoinWait = 12 * time.Second
	opts.MinReceivers = map[string]int{statuses: 1}
	never := subscribe(t, server, time.Hour)
	soon, later := subscribe(t, server, 0), subscribe(t, server, time.Second)
	l := startLoad(t, relay.ClientOptions{Addrs: []string{server.Addr()}}, opts, map[string]*redistest.Subscriber{"soon": soon, "later": later})
	var first, second map[string]bool
	l.during(5*pace, func() {
		first = l.bounce(server)
		for topic, waits := range l.rejoins(1) {
			require.Equal(t, "3", waits[0].before, topic)
			require.Equal(t, "2", waits[0].receivers, topic)
			require.GreaterOrEqual(t, waits[0].waited, opts.RejoinWait, topic)
		}
		requireSameFirst(t, soon, later, 2)

		second = l.bounce(server)
		for topic, waits := range l.rejoins(2) {
			require.Contains(t, []string{"2", ""}, waits[1].before, "%s: not for the third", topic)
			require.Equal(t, "2", waits[1].receivers, topic)
		}
		requireSameFirst(t, soon, later, 3)
	})
	maps.Copy(first, second)
	l.requireWhole(server.Client(), first)
	require.Empty(t, l.alerted())
	require.Equal(t, 1, never.Connections())
}

// TestRejoin_OfARelayThatBeginsInAnOutage kills the process of the relay while Redis is dead: the next one knows from the file how
// many subscribers were there, and what may have been lost with Redis.
func TestRejoin_OfARelayThatBeginsInAnOutage(t *testing.T) {
	t.Parallel()
	for name, standby := range map[string]bool{"started anew": false, "that stood by": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, redistest.Options{Persistence: redistest.AOF})
			var away atomic.Bool
			soon := subscribe(t, server, 0)
			late := follow(t, func() string {
				if away.Load() {
					return ""
				}
				return server.Addr()
			}, 0)
			late.WaitSubscribed(1)
			box := openBox(t, filepath.Join(shortFolder(t), "test.db"))
			defer serve(t, control.Options{Outbox: box, Lease: time.Hour})()
			env := append(separateEnv(box.Path(), server), "RELAY_REJOIN_WAIT=1h")
			drains := func(r *separate, state relay.State) {
				t.Helper()
				eventually(t, "the relay is "+string(state), func() bool {
					s, ok := whoever(box.Path())
					return ok && s.Relay != nil && s.Relay.State == state && strings.HasSuffix(s.DrainedBy, "process "+strconv.Itoa(r.cmd.Process.Pid))
				})
			}
			commit := func(steps int) {
				for range steps {
					require.NoError(t, commitStep(box, nil))
				}
			}
			first := startSeparate(t, env)
			drains(first, relay.Delivering)
			var next *separate
			if standby {
				next = startSeparate(t, env)
			}
			commit(20)
			received := func() {
				t.Helper()
				for who, sub := range map[string]*redistest.Subscriber{"soon": soon, "late": late} {
					eventually(t, who+" has got everything", func() bool { return len(distinct(history(sub))) == len(committed(t, box)) })
				}
			}
			received()
			eventually(t, "the file knows of both", func() bool {
				stats, err := box.Stats(t.Context())
				require.NoError(t, err)
				return stats.Topics[0].Progress.Receivers == 2 && stats.Topics[1].Progress.Receivers == 2
			})

			tail, given := tailsOf(t, box), committed(t, box)
			away.Store(true)
			server.Kill()
			drains(first, relay.RedisDown)
			first.kill()
			commit(5)
			if !standby {
				next = startSeparate(t, env)
			}
			drains(next, relay.RedisDown)
			server.Start()
			soon.WaitSubscribed(2)
			drains(next, relay.Waiting)
			require.Equal(t, len(given), len(history(soon)), "nothing is published before the other one is back")
			away.Store(false)
			received()
			require.NoError(t, next.cmd.Process.Signal(syscall.SIGTERM))
			require.NoError(t, next.cmd.Wait())
			for who, sub := range map[string]*redistest.Subscriber{"soon": soon, "late": late} {
				require.Empty(t, redistest.Check(committed(t, box), history(sub), tail.mayRepeat(t, box, given)), who)
			}
		})
	}
}
