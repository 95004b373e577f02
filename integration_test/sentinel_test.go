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

// failovers are the ways in which the master is replaced. Each returns when the other one is there, and says when the old one was last
// well, and what had been appended when the relay last wrote to it.
var failovers = map[string]func(g *group, l *load) (died time.Time, given []redistest.Event){
	"the master is killed": func(g *group, l *load) (time.Time, []redistest.Event) {
		died := time.Now()
		g.master.Kill()
		l.waitDown()
		given := committed(l.t, l.box)
		g.waitPromoted()
		return died, given
	},
	"the master is frozen and thawed when it has been replaced": func(g *group, l *load) (time.Time, []redistest.Event) {
		died := time.Now()
		g.master.Freeze()
		l.waitDown()
		given := committed(l.t, l.box)
		g.waitPromoted()
		g.master.Thaw()
		require.True(l.t, g.master.IsMaster(), "it takes itself for the master")
		eventually(l.t, "it is told that it is none", func() bool { return !g.master.IsMaster() })
		return died, given
	},
	"a planned failover": func(g *group, l *load) (time.Time, []redistest.Event) {
		died := time.Now()
		require.NoError(l.t, g.Servers[0].Client().Do(l.t.Context(), "SENTINEL", "FAILOVER", redistest.MasterName).Err())
		g.waitPromoted()
		eventually(l.t, "the old master is a replica", func() bool { return !g.master.IsMaster() })
		l.waitDelivering()
		return died, committed(l.t, l.box)
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
			var died time.Time
			var given []redistest.Event
			l.during(5*pace, func() {
				<-time.After(3 * time.Second) // some events must be too old to repeat
				died, given = failover(g, l)
				l.waitDelivering()
			})
			mayRepeat := l.taken(given, died)
			require.Less(t, len(mayRepeat), len(given), "some must not repeat")
			l.requireWhole(g.waitPromoted().Client(), mayRepeat)
			require.False(t, g.master.IsMaster())
		})
	}
}
