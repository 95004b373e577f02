package simulation

import (
	"math/rand/v2"
	"slices"
	"time"
)

// drawMore draws settings that came later, and their steps, from a source of its own: where none is drawn, the schedule of a
// seed stays what it was.
func drawMore(s *Schedule) {
	d := &draw{rand.New(rand.NewPCG(s.Seed, 2))}
	if d.chance(10) { // each takes as long as some others
		s.Settings["relay"] = "socket"
		s.Settings["relays"] = one(d, "1", "2", "2")
		s.Settings["lease"] = one(d, 5*time.Second, 15*time.Second, 15*time.Second).String()
		d.insert(s, 2+d.IntN(12), d.relays)
	}
	d.options(s)
}

// options are those of the relay.
func (d *draw) options(s *Schedule) {
	if d.chance(7) {
		s.Settings["poison"] = "block"
		d.insert(s, 1+d.IntN(3), d.poison)
	}
	if d.chance(15) {
		s.Settings["retries"] = one(d, "1", "2", "6")
	}
	if d.chance(10) {
		s.Settings["buffer"] = one(d, "65536", "1000000", "8000000")
		d.insert(s, 1, d.large)
	}
	if d.chance(15) {
		s.Settings["pace"] = one(d, "1000000", "3000000")
	}
	if d.chance(10) {
		s.Settings["replicas"] = one(d, "1", "2")
		s.Settings["wait"] = one(d, time.Second, 100*time.Millisecond).String()
		d.insert(s, 1+d.IntN(6), d.lag)
	}
	if s.Settings["streams"] == "on" && d.chance(40) {
		s.Settings["unread"] = one(d, "1000", "1000", "2000", "10000")
		if s.Settings["keep"] == "20" {
			s.Settings["unread"] = one(d, "50", "200", "1000")
		}
		d.insert(s, 2, d.newGroup)
		d.insert(s, 4+d.IntN(12), d.group)
		d.insert(s, 1+d.IntN(4), d.append)
	}
}

// newGroup is a consumer group that begins to read.
func (d *draw) newGroup() (string, Args) {
	return "group-create", args("topic", d.topic(), "name", one(d, "a", "b"), "from", one(d, "0", "0", "new"))
}

// group is what becomes of one.
func (d *draw) group() (string, Args) {
	a := args("topic", d.topic(), "name", one(d, "a", "b"))
	switch n := d.IntN(10); {
	case n < 3:
		return d.newGroup()
	case n < 7:
		a["n"], a["left"] = one(d, "1", "10", "100", "1000"), one(d, "0", "0", "1", "5")
		return "group-read", a
	case n < 9:
		return "group-ack", a
	}
	return "group-remove", a
}

// lag is that of the replicas.
func (d *draw) lag() (string, Args) {
	return "replica-lag", args("lag", one(d, d.between(time.Millisecond, time.Second), d.between(time.Second, 20*time.Second)),
		"for", d.away())
}

// insert puts steps between those that are there.
func (d *draw) insert(s *Schedule, n int, kind func() (string, Args)) {
	end := s.Steps[len(s.Steps)-1].At
	for range n {
		at := d.between(time.Second, end+time.Second)
		if d.chance(60) { // where something happens anyway
			at = s.Steps[d.IntN(len(s.Steps))].At + d.between(time.Microsecond, 3*time.Second)
		}
		verb, a := kind()
		s.Steps = append(s.Steps, Step{at, verb, a})
	}
	slices.SortStableFunc(s.Steps, func(a, b Step) int { return int(a.At - b.At) })
}

// relays is what becomes of a relay that drains over the control socket.
func (d *draw) relays() (string, Args) {
	a := args("for", one(d, d.between(time.Millisecond, 2*time.Second), d.between(time.Second, 20*time.Second), d.away()))
	if d.chance(40) {
		a["who"] = one(d, "0", "1")
	}
	return one(d, "relay-kill", "relay-hang", "relay-hang", "relay-silent", "relay-silent", "relay-cut-off", "relay-restart"), a
}
