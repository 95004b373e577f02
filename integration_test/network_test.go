package integration_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

// networks are what a network between the relay and Redis does, each for some time.
var networks = map[string]func(p *redistest.Proxy){
	"replies are late, each by another time": func(p *redistest.Proxy) {
		p.Latency(20*time.Millisecond, 15*time.Millisecond)
		<-time.After(2 * time.Second)
	},
	"connections are reset again and again": func(p *redistest.Proxy) {
		for range 25 {
			p.Reset()
			<-time.After(time.Duration(rand.IntN(20)) * time.Millisecond)
			p.Heal()
			<-time.After(time.Duration(20+rand.IntN(100)) * time.Millisecond)
		}
	},
	"connections are half-open for longer than the time-out": func(p *redistest.Proxy) {
		for range 2 {
			p.HalfOpen()
			<-time.After(callTimeout * 3 / 2)
			p.Heal()
			<-time.After(200 * time.Millisecond)
		}
	},
	"connections close late": func(p *redistest.Proxy) {
		for range 5 {
			p.SlowClose(300 * time.Millisecond)
			p.CutReplies()
			<-time.After(200 * time.Millisecond)
			p.Heal()
			<-time.After(200 * time.Millisecond)
		}
	},
	"replies are throttled": func(p *redistest.Proxy) {
		p.Throttle(2000)
		<-time.After(2 * time.Second)
	},
	"all of that in turn at random moments": func(p *redistest.Proxy) {
		for until := time.Now().Add(5 * time.Second); time.Now().Before(until); {
			for _, i := range rand.Perm(6) {
				[]func(){
					func() { p.Latency(20*time.Millisecond, 15*time.Millisecond) },
					p.Reset,
					p.HalfOpen,
					func() { p.SlowClose(100 * time.Millisecond) },
					func() { p.Throttle(4000) },
					p.CutReplies,
				}[i]()
				<-time.After(time.Duration(rand.IntN(150)) * time.Millisecond)
				if rand.IntN(2) == 0 {
					p.Heal()
					<-time.After(time.Duration(rand.IntN(100)) * time.Millisecond)
				}
			}
			p.Heal()
		}
	},
}

func TestTheNetworkCostsNoEventAndRepeatsNone(t *testing.T) {
	t.Parallel()
	for name, disturb := range networks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, redistest.Options{})
			proxy := redistest.NewProxy(t, server.Addr())
			l := startLoad(t, relay.ClientOptions{Addrs: []string{proxy.Addr()}}, relayOptions(),
				map[string]*redistest.Subscriber{"direct": subscribe(t, server, 0)})
			l.during(pace, func() {
				disturb(proxy)
				proxy.Heal()
				l.waitDelivering()
			})
			l.requireWhole(server.Client(), nil)
			require.Empty(t, l.alerted())
		})
	}
}

func TestANetworkThatFailsAcquitsTheEventThatWasSuspected(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{Config: []string{"proto-max-bulk-len 1mb"}})
	proxy := redistest.NewProxy(t, server.Addr())
	opts := relayOptions()
	opts.RetryDelay, opts.RetryMaxDelay, opts.MaxRetries = 200*time.Millisecond, 200*time.Millisecond, 5 // not to be parked before the network fails
	l := startLoad(t, relay.ClientOptions{Addrs: []string{proxy.Addr()}}, opts,
		map[string]*redistest.Subscriber{"direct": subscribe(t, server, 0)})
	_, err := l.box.Add(t.Context(), newEvent(updates, strings.Repeat("too large for this Redis ", 1<<16)))
	require.NoError(t, err)
	eventually(t, "the event has failed by itself twice", func() bool { return len(l.log.values("attempts")) >= 2 })
	proxy.Reset()
	eventually(t, "each topic has met with that", func() bool { return proxy.Refused() >= 30 })
	failed := len(l.log.values("attempts"))
	require.NotContains(t, l.alerted(), "event_parked")
	proxy.Heal()
	eventually(t, "it is parked", func() bool { return slices.Contains(l.alerted(), "event_parked") })
	require.Contains(t, l.log.values("attempts")[failed:], "1", "it has all attempts again")
	l.stop()
}
