package integration_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

// group is a master with two replicas and three Sentinels.
type group struct {
	*redistest.Sentinels
	master   *redistest.Server
	replicas []*redistest.Server
}

func startGroup(t *testing.T) *group {
	t.Helper()
	g := &group{master: redistest.Start(t, redistest.Options{})}
	for range 2 {
		replica := redistest.Start(t, redistest.Options{ReplicaOf: g.master})
		replica.WaitInSync()
		g.replicas = append(g.replicas, replica)
	}
	g.Sentinels = redistest.StartSentinels(t, g.master, 3)
	return g
}

func (g *group) client() relay.ClientOptions {
	return relay.ClientOptions{Addrs: g.Addrs(), SentinelMaster: redistest.MasterName}
}

// waitPromoted returns the replica that has become the master.
func (g *group) waitPromoted() *redistest.Server {
	addr := g.WaitFailover(g.master.Addr())
	if addr == g.replicas[0].Addr() {
		return g.replicas[0]
	}
	return g.replicas[1]
}

// failovers are the ways in which the master is replaced. Each returns when it has been, with what had been appended when the
// relay was not served by the old one any more.
var failovers = map[string]func(g *group, l *load) (given []redistest.Event){
	"the master is killed": func(g *group, l *load) []redistest.Event {
		g.master.Kill()
		given := l.waitDown()
		g.waitPromoted()
		return given
	},
	"the master is frozen and thawed when it has been replaced": func(g *group, l *load) []redistest.Event {
		g.master.Freeze()
		l.waitDown()
		g.waitPromoted()
		// It does what the relay was not answered before, and whatever else the relay asks of it until that has heard the news.
		g.master.Thaw()
		require.True(l.t, g.master.IsMaster(), "it takes itself for the master")
		eventually(l.t, "it is told that it is none", func() bool { return !g.master.IsMaster() })
		return l.appended()
	},
	"a planned failover": func(g *group, l *load) []redistest.Event {
		require.NoError(l.t, g.Servers[0].Client().Do(l.t.Context(), "SENTINEL", "FAILOVER", redistest.MasterName).Err())
		promoted := g.waitPromoted()
		l.waitTopics("waiting for the subscribers", "delivering again") // it has left the old master, which takes itself for one for some time
		given := l.appended()
		eventually(l.t, "the old master is a replica of "+promoted.Addr(), func() bool { return !g.master.IsMaster() })
		return given
	},
}

func TestASentinelFailoverUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	for name, failover := range failovers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := startGroup(t)
			l := startLoad(t, g.client(), relayOptions(), map[string]*redistest.Subscriber{
				"prompt": follow(t, g.Master, 0), "late": follow(t, g.Master, 1500*time.Millisecond)})
			var given []redistest.Event
			var tail tails
			l.during(5*pace, func() {
				l.waitSafe()
				tail = tailsOf(t, l.box)
				given = failover(g, l)
				l.waitDelivering()
			})
			mayRepeat := tail.mayRepeat(t, l.box, given)
			require.Less(t, len(mayRepeat), len(given), "some had better not be repeated")
			l.requireWhole(g.waitPromoted().Client(), mayRepeat)
			require.False(t, g.master.IsMaster())
			require.Subset(t, []string{"redis_amnesia"}, l.alerted(), "replicas may lag behind")
		})
	}
}
