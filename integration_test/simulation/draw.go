package simulation

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Draw makes a schedule from a seed. Each seed draws from a few kinds of steps only: what many kinds together hide, some of
// them alone bring out.
func Draw(seed uint64) Schedule {
	d := &draw{rand.New(rand.NewPCG(seed, 1))}
	s := Schedule{Seed: seed, Settings: d.settings(), Clients: d.clients()}
	s.requireNoMore()
	kinds := d.kinds()
	at := time.Second
	for range 5 + d.IntN(40) {
		at += d.pause()
		kind := kinds[d.IntN(len(kinds))]
		if d.chance(40) {
			kind = d.append
		}
		verb, a := kind()
		s.Steps = append(s.Steps, Step{at, verb, a})
	}
	drawMore(&s)
	return s
}

type draw struct{ *rand.Rand }

func (d *draw) chance(percent int) bool { return d.IntN(100) < percent }

func (d *draw) between(least, most time.Duration) time.Duration {
	return least + time.Duration(d.Int64N(int64(most-least)))
}

func one[T any](d *draw, of ...T) T { return of[d.IntN(len(of))] }

// pause is the time to the next step: mostly moments, now and then so long that everything comes to rest.
func (d *draw) pause() time.Duration {
	switch n := d.IntN(10); {
	case n < 4:
		return d.between(time.Microsecond, 3*time.Millisecond)
	case n < 7:
		return d.between(time.Millisecond, 3*time.Second)
	case n < 9:
		return d.between(time.Second, time.Minute)
	}
	return d.between(time.Minute, 8*time.Minute)
}

// away is how long something is not there.
func (d *draw) away() time.Duration {
	switch d.IntN(4) {
	case 0:
		return d.between(time.Millisecond, time.Second)
	case 1, 2:
		return d.between(time.Second, 20*time.Second)
	}
	return d.between(20*time.Second, 10*time.Minute)
}

func (d *draw) settings() Args {
	a := args("persist", one(d, persistAlways, persistAlways, persistLate, persistNone),
		"rejoin", one(d, 20*time.Second, 40*time.Second, 90*time.Second), "retention", 7*24*time.Hour)
	for _, topic := range topics {
		a["min."+topic] = one(d, "0", "0", "1", "1", "2")
	}
	if d.chance(60) {
		a["streams"], a["keep"] = "on", one(d, "1000", "20")
	}
	if d.chance(20) {
		a["retention"] = one(d, 2*time.Minute, 10*time.Minute).String()
	}
	if d.chance(10) {
		a["maxbytes"] = one(d, "20000", "100000")
	}
	if d.chance(10) {
		a["holdmax"] = d.between(10*time.Second, 3*time.Minute).String()
	}
	return a
}

// clients are a steady subscriber or two to everything, and some that come and go, each to what it likes.
func (d *draw) clients() []Args {
	var list []Args
	for i := range 1 + d.IntN(2) {
		list = append(list, args("steady", "yes", "topics", strings.Join(topics, ","),
			"latency", d.between(50*time.Microsecond, 20*time.Millisecond),
			"back", d.between(time.Millisecond, 12*time.Second), "rate", promptRate))
		if i == 0 && d.chance(30) { // a topic that no one is steadily there for
			list[0]["topics"] = strings.Join(topics[:2], ",")
		}
	}
	for range d.IntN(3) {
		own := slices.DeleteFunc(slices.Clone(topics), func(string) bool { return d.chance(40) })
		list = append(list, args("topics", strings.Join(own, ","), "latency", d.between(50*time.Microsecond, 100*time.Millisecond),
			"back", d.away(), "rate", promptRate))
	}
	return list
}

// kinds are those that a run has beside appending.
func (d *draw) kinds() []func() (string, Args) {
	all := []func() (string, Args){
		d.redisDies, d.redisDies, d.redisAway, d.failover, d.forget, d.fault, d.fault,
		d.netAway, d.netFault, d.netFault, d.netFault, d.subscriber, d.subscriber, d.pace,
		d.processDies, d.processDies, d.processStops, d.diskFull, d.rollback, d.rollback,
		d.pauses, d.discard, d.replay, d.poison, d.large,
	}
	d.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return append(all[:1+d.IntN(8)], d.append)
}

func (d *draw) topic() string { return one(d, topics...) }

func (d *draw) who() int { return d.IntN(8) }

func (d *draw) append() (string, Args) {
	topic, bytes := d.topic(), 100+d.IntN(900)
	if d.chance(10) {
		return "append", args("topic", topic, "n", 1, "bytes", bytes, "times", 2+d.IntN(5))
	}
	n := 1
	switch d.IntN(10) {
	case 0:
		n = 1 + d.IntN(500)
	case 1, 2, 3:
		n = 1 + d.IntN(20)
	}
	return "append", args("topic", topic, "n", n, "bytes", bytes)
}

func (d *draw) large() (string, Args) {
	return "append", args("topic", d.topic(), "n", 1+d.IntN(8), "bytes", 200_000+d.IntN(2_000_000))
}

func (d *draw) poison() (string, Args) { return "poison", args("topic", d.topic()) }

func (d *draw) redisDies() (string, Args) {
	if d.chance(70) {
		return "redis-die-in", args("calls", 1+d.IntN(12), "for", d.away())
	}
	return "redis-kill", args("for", d.away())
}

func (d *draw) redisAway() (string, Args) {
	return one(d, "redis-restart", "redis-freeze", "redis-freeze"), args("for", d.away())
}

func (d *draw) failover() (string, Args) {
	return "redis-failover", args("lag", one(d, 0, d.between(0, 100*time.Millisecond), d.between(0, 30*time.Second)),
		"for", d.away(), "how", one(d, "killed", "by-hand"))
}

func (d *draw) forget() (string, Args) {
	if d.chance(30) {
		return "redis-forget", args("what", "everything")
	}
	return "redis-forget", args("topic", d.topic(), "what", one(d, "mark", "stream", "everything"))
}

func (d *draw) fault() (string, Args) {
	if d.chance(10) {
		return "redis-script-flush", Args{}
	}
	return "redis-fault", args("name", one(d, "oom", "misconf", "noperm", "noxadd", "nopublish", "noinfo", "nonumsub", "nolist",
		"readonly", "loading"), "for", d.away())
}

func (d *draw) netAway() (string, Args) {
	return "net", args("mode", one(d, "refused", "silent"), "for", d.away())
}

func (d *draw) netFault() (string, Args) {
	a := args("kind", one(d, "before", "after", "after", "slow"), "calls", 1+d.IntN(4), "skip", d.IntN(6))
	if a["kind"] == "slow" {
		a["for"] = one(d, d.between(time.Millisecond, 4*time.Second), d.between(4*time.Second, 12*time.Second)).String()
	}
	return "net-fault", a
}

func (d *draw) subscriber() (string, Args) {
	return one(d, "subscriber-leave", "subscriber-join", "subscriber-join"), args("who", d.who())
}

func (d *draw) pace() (string, Args) {
	return "subscriber-pace", args("who", d.who(), "rate", one(d, 0, 1000, 100_000, 1_000_000), "for", d.away())
}

func (d *draw) processDies() (string, Args) {
	if d.chance(70) {
		return "process-die-in", args("calls", 1+d.IntN(15), "for", d.away())
	}
	return "process-kill", args("for", d.away())
}

func (d *draw) processStops() (string, Args) {
	if d.chance(30) {
		return "relay-next", Args{}
	}
	return one(d, "process-stop", "relay-restart"), args("for", d.away())
}

func (d *draw) diskFull() (string, Args) { return "disk-full", args("for", d.away()) }

func (d *draw) rollback() (string, Args) {
	if d.chance(50) {
		return "backup", Args{}
	}
	return "restore", args("for", d.away())
}

func (d *draw) pauses() (string, Args) {
	switch d.IntN(5) {
	case 0:
		return "retry-now", Args{}
	case 1:
		return "backlog-pause", args("topic", d.topic(), "n", 300+d.IntN(1500), "in", d.between(0, 2*time.Millisecond),
			"for", d.between(30*time.Second, 2*time.Minute), "discard", one(d, 20, 100))
	}
	return "pause", args("for", d.away())
}

func (d *draw) discard() (string, Args) {
	return "discard", args("percent", one(d, 10, 50, 100))
}

func (d *draw) replay() (string, Args) { return "replay", Args{} }
