package integration_test

import (
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

// bounce kills Redis and starts it again at once. It returns what Redis may have taken with it.
func (l *load) bounce(server *redistest.Server) (taken map[string]bool) {
	killed := time.Now()
	server.Kill()
	given := l.appended()
	server.Start()
	return l.taken(given, killed)
}

// firstOn is when a subscriber's connection received its first message on any of the channels.
func firstOn(sub *redistest.Subscriber, connection int, channels ...string) (at time.Time) {
	for _, m := range sub.Messages(channels...) {
		if m.Connection == connection {
			return m.At
		}
	}
	return at
}

// waitFirst waits for that on each channel, and returns all the times.
func waitFirst(t *testing.T, sub *redistest.Subscriber, connection int) (times []time.Time) {
	t.Helper()
	for _, channel := range channels {
		eventually(t, "the first message on "+channel, func() bool { return !firstOn(sub, connection, channel).IsZero() })
		times = append(times, firstOn(sub, connection, channel))
	}
	return times
}

// notice is how long it may take from something that Redis could tell to its effect: the relay asks a waiting Redis four times a second.
const notice = 250*time.Millisecond + ample/2

func TestASubscriberThatComesBackAMinuteLateMissesNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{Persistence: redistest.AOF})
	opts := relayOptions()
	opts.RejoinWait = 0 // the default: 90 s
	opts.MinReceivers = map[string]int{statuses: 1}
	soon, late := subscribe(t, server, time.Second), subscribe(t, server, time.Minute)
	l := startLoad(t, relay.ClientOptions{Addrs: []string{server.Addr()}}, opts, map[string]*redistest.Subscriber{"soon": soon, "late": late})
	var taken map[string]bool
	l.during(2*time.Second, func() {
		<-time.After(beforehand)
		taken = l.bounce(server)
		soon.WaitSubscribed(2)
		require.Eventually(t, func() bool { return late.Connections() == 2 }, 80*time.Second, time.Millisecond)
		back := time.Now()
		for _, at := range waitFirst(t, soon, 2) {
			require.WithinRange(t, at, back.Add(-10*time.Millisecond), back.Add(notice))
		}
	})
	l.requireWhole(server.Client(), taken)
	require.Empty(t, l.alerted())
}

func TestASubscriberThatNeverComesBackIsWaitedForOnce(t *testing.T) {
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
		<-time.After(beforehand)
		died := time.Now() // Redis answers again after this, and before bounce returns
		first = l.bounce(server)
		answers := time.Now()
		for _, sub := range l.subs {
			for _, at := range waitFirst(t, sub, 2) {
				require.WithinRange(t, at, died.Add(opts.RejoinWait), answers.Add(opts.RejoinWait+opts.RetryMaxDelay+notice))
			}
		}

		<-time.After(beforehand)
		second = l.bounce(server)
		later.WaitSubscribed(3)
		back := time.Now()
		for _, sub := range l.subs {
			for _, at := range waitFirst(t, sub, 3) {
				require.WithinRange(t, at, back.Add(-10*time.Millisecond), back.Add(opts.RetryMaxDelay+notice))
			}
		}
	})
	maps.Copy(first, second)
	l.requireWhole(server.Client(), first)
	require.Empty(t, l.alerted())
	require.Equal(t, 1, never.Connections())
}
