package torture

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// action is one step of a plan. Those of one actor are done one after the other, those of several actors at the same time.
type action struct {
	at    time.Duration // since the plan began
	actor string
	what  string
	arg   string
	ends  bool // what the one before it, of the same actor, has begun
}

func (a action) String() string {
	return strings.TrimSpace(fmt.Sprintf("%8.3fs  %-12s %s %s", a.at.Seconds(), a.actor, a.what, a.arg))
}

// The actors.
const (
	theRedis     = "redis"
	theProcessor = "processor"
	theVeteran   = "relay 1" // it is stopped at times, but lives on after the maintenance: it shows whether anything grows
	theRelay     = "relay 2"
	theConsumer  = "consumer"
	theNetwork   = "network" // between relays and Redis
	theRemote    = "remote"  // the network of a remote subscriber and the consumer
	theFlaky     = "flaky"   // a subscriber
	theDisk      = "disk"
	theClock     = "clock"
	theOperator  = "operator"
	theKeeper    = "keeper" // of backups
	theWhole     = "maintenance"
)

// The kinds of processor.
const (
	runs          = "run"
	runsNoRelay   = "run --no-relay"
	workerRelays  = "worker with relay"
	workerNoRelay = "worker"
)

// How far the clock jumps at times, so that all that was delivered is over the retention period and is pruned.
const (
	retention   = time.Hour
	hoursPassed = 2 * time.Hour
)

// plan draws what happens within a time. What is stopped or taken away is there again by its end.
func plan(seed uint64, length time.Duration) []action {
	p := &planner{seed: seed, length: length}
	second := time.Second
	p.draw(theRedis, 2*second, 8*second, func(d *drawing) {
		switch d.IntN(6) {
		case 0, 1:
			d.pair("kill", "", "start", "", 0, 3*second)
		case 2:
			d.pair("freeze", "", "thaw", "", second/2, 4*second)
		case 3, 4:
			d.pair("fail over", "", "rejoin", "", second/5, second)
		case 5:
			d.pair("kill replica", "", "start replica", "", second/5, 3*second)
		}
	})
	kinds := []string{runs, runsNoRelay, runsNoRelay, workerRelays, workerNoRelay}
	p.draw(theProcessor, 3*second, 12*second, func(d *drawing) {
		switch d.IntN(4) {
		case 0:
			d.pair("stop", "", "go on", "", second/2, 6*second)
		case 1:
			d.pair("end", "", "start", kinds[d.IntN(len(kinds))], 0, 4*second)
		default:
			d.pair("kill", "", "start", kinds[d.IntN(len(kinds))], 0, 4*second)
		}
	})
	p.draw(theVeteran, 8*second, 20*second, func(d *drawing) { d.pair("stop", "", "go on", "", second/2, 8*second) })
	p.draw(theRelay, 2*second, 9*second, func(d *drawing) {
		switch d.IntN(4) {
		case 0:
			d.pair("stop", "", "go on", "", second/2, 8*second)
		case 1:
			d.pair("end", "", "start", "", 0, 2*second)
		default:
			d.pair("kill", "", "start", "", 0, 2*second)
		}
	})
	p.draw(theConsumer, 2*second, 8*second, func(d *drawing) {
		if d.IntN(3) == 0 {
			d.pair("stop", "", "go on", "", second/2, 4*second)
		} else {
			d.pair("kill", "", "start", "", 0, second)
		}
	})
	for _, network := range []string{theNetwork, theRemote} {
		p.draw(network, 3*second, 9*second, func(d *drawing) {
			faults := []string{"reset", "cut replies", "half open", "latency", "throttle"}
			d.pair(faults[d.IntN(len(faults))], "", "heal", "", second/5, 3*second)
		})
	}
	p.draw(theFlaky, 2*second, 6*second, func(d *drawing) { d.add("cut", "") })
	p.draw(theDisk, 8*second, 20*second, func(d *drawing) { d.pair("fill", "", "free", "", second, 4*second) })
	p.draw(theClock, 3*second, 10*second, func(d *drawing) {
		if d.IntN(2) == 0 {
			d.add("jump", hoursPassed.String())
		} else {
			d.add("jump", (time.Duration(d.IntN(480)-240) * second).String())
		}
	})
	p.draw(theOperator, second, 3*second, func(d *drawing) {
		switch d.IntN(10) {
		case 0:
			d.add("post what Redis refuses", "")
		case 1:
			d.add("status", "")
		case 2, 3:
			d.add("replay parked", "")
		case 4:
			d.add("discard parked", "")
		case 5:
			d.add("discard pending", "")
		case 6:
			d.pair("pause", "", "resume", "", second/5, 3*second)
		case 7:
			d.add("retry now", "")
		case 8:
			d.add("resync", "")
		case 9:
			d.add("ingest", "")
		}
	})
	p.draw(theKeeper, 2*second, 5*second, func(d *drawing) {
		d.add([]string{"back up", "check", "compact"}[d.IntN(3)], "")
	})
	if length >= 20*second {
		p.draw(theWhole, length/8, length/4, func(d *drawing) {
			if d.now < length/4 {
				d.pair("end all and compact", "", "start all", "", 2*second, 3*second)
			}
		})
	}
	slices.SortStableFunc(p.actions, func(a, b action) int { return int(a.at - b.at) })
	return p.actions
}

type planner struct {
	seed    uint64
	length  time.Duration
	actions []action
}

// drawing is the part of a plan that is one actor's; each has a stream of random numbers of its own.
type drawing struct {
	*rand.Rand
	p     *planner
	actor string
	now   time.Duration
}

// draw has an actor do something again and again, with so much time in between.
func (p *planner) draw(actor string, least, most time.Duration, do func(*drawing)) {
	name := uint64(0)
	for _, c := range actor {
		name = name*31 + uint64(c)
	}
	d := &drawing{Rand: rand.New(rand.NewPCG(p.seed, name)), p: p, actor: actor}
	for {
		d.pass(least, most)
		if d.now >= p.length {
			return
		}
		do(d)
	}
}

func (d *drawing) pass(least, most time.Duration) {
	d.now += least + time.Duration(d.Int64N(int64(most-least)))
}

func (d *drawing) add(what, arg string) {
	d.p.actions = append(d.p.actions, action{at: min(d.now, d.p.length), actor: d.actor, what: what, arg: arg})
}

// pair is a fault and its end.
func (d *drawing) pair(what, arg, end, endArg string, least, most time.Duration) {
	d.add(what, arg)
	d.pass(least, most)
	d.add(end, endArg)
	d.p.actions[len(d.p.actions)-1].ends = true
}

func TestTorturePlan_ASeedGivesOnePlan(t *testing.T) {
	first := plan(7, 10*time.Minute)
	require.Equal(t, first, plan(7, 10*time.Minute))
	require.NotEqual(t, first, plan(8, 10*time.Minute))
	seen := map[string]int{}
	for i, a := range first {
		seen[a.actor+": "+a.what]++
		require.LessOrEqual(t, a.at, 10*time.Minute)
		require.True(t, i == 0 || first[i-1].at <= a.at)
	}
	for fault, end := range map[string]string{
		"redis: kill": "redis: start", "redis: freeze": "redis: thaw", "redis: fail over": "redis: rejoin",
		"disk: fill": "disk: free", "operator: pause": "operator: resume", "relay 1: stop": "relay 1: go on",
		"maintenance: end all and compact": "maintenance: start all",
	} {
		require.Positive(t, seen[fault], fault)
		require.Equal(t, seen[fault], seen[end], fault)
	}
	require.Zero(t, seen["relay 1: kill"])
}
