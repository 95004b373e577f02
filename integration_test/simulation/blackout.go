package simulation

import (
	"fmt"
	"slices"
	"time"
)

// blackout is a time in which the network between Redis and everybody lets nothing through, and resets nothing.
type blackout struct {
	from, to time.Time
	cut      map[int]bool // publications that were in the buffer of somebody
}

// ghost is a connection that a subscriber has given up, and that Redis still counts: until its time-out, or until the system of the
// subscriber answers what is sent to it with a reset.
type ghost struct {
	name     string
	since    time.Time
	channels map[string]bool
	until    time.Time
	resets   time.Time // when the network is back; zero: nobody answers
}

// blackOut lets the network go silent. Subscribers give their connections up, and are back some time after it is.
func (w *world) blackOut(a Args) {
	const keepalive = 300 * time.Second
	if w.net.mode != "" || !w.server.up || !w.server.frozen.IsZero() {
		return
	}
	now, d := time.Now(), a.duration("for")
	b := blackout{now, now.Add(d), map[int]bool{}}
	for _, c := range w.server.clients {
		if !c.connected(w.server.clock()) {
			continue
		}
		g := ghost{name: c.connection(), since: c.from, channels: c.channels, until: b.to.Add(keepalive)}
		if a.text("resets") == "yes" {
			g.resets = b.to
		}
		w.server.ghosts = append(w.server.ghosts, g)
		c.drain(w.server.clock())
		for _, m := range c.buffer {
			b.cut[m.publication] = true
		}
		c.disconnect(w.server.clock())
		c.from = b.to.Add(c.back)
	}
	w.blackouts = append(w.blackouts, b)
	w.net.mode = "silent"
	w.after(d, func() { w.net.mode = "" })
}

// connection names the one that a subscriber has now.
func (c *subscriber) connection() string { return fmt.Sprint(c.name, "/", c.from.UnixNano()) }

// ghostsOf are those that are subscribed to a channel, or to any with "".
func (s *server) ghostsOf(channel string) (list []*ghost) {
	for i := range s.ghosts {
		if g := &s.ghosts[i]; s.clock().Before(g.until) && (channel == "" || g.channels[channel]) {
			list = append(list, g)
		}
	}
	return list
}

// haunted sends a publication to ghosts.
func (s *server) haunted(channel string) (n int) {
	for _, g := range s.ghostsOf(channel) {
		if n++; !g.resets.IsZero() && !s.clock().Before(g.resets) {
			g.until = s.clock().Add(time.Millisecond)
		}
	}
	return n
}

// timeOut is a call that was given up.
type timeOut struct {
	relay int
	at    time.Time
}

func (w *world) timedOut(relay int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timeOuts = append(w.timeOuts, timeOut{relay, time.Now()})
}

// inSilence says whether a relay could think at a time that connections of a topic's subscribers were dead: calls had timed out
// before it had an answer, and since then the time that subscribers have to come back is not over, or only since a moment.
func (w *world) inSilence(relay int, topic string, at time.Time, moment time.Duration) bool {
	late := moment + 10*time.Second
	var until, last time.Time
	for _, t := range w.tells {
		if t.relay != relay || t.channel != channelOf(topic) || t.told.After(at) {
			continue
		}
		if w.timedOutBetween(relay, last, t.told) {
			if until = t.told.Add(w.schedule.Settings.duration("rejoin") + late); w.schedule.Settings.number("min."+topic) > 0 {
				return true // what is to be published anew may be held ever since
			}
		}
		last = t.told
	}
	return !at.After(until) || w.timedOutBetween(relay, last, at) || w.hinderedSince(until, at)
}

// hinderedSince says whether Redis had a fault at a time, which has lasted until shortly before another one: nothing could be
// published anew.
func (w *world) hinderedSince(from, at time.Time) bool {
	return slices.ContainsFunc(w.faulty, func(f *faultTime) bool {
		return !f.from.After(from) && (f.to.IsZero() || f.to.After(from) && at.Before(f.to.Add(2*time.Minute)))
	})
}

func (w *world) timedOutBetween(relay int, from, to time.Time) bool {
	return slices.ContainsFunc(w.timeOuts, func(t timeOut) bool {
		return t.relay == relay && !t.at.Before(from) && !t.at.After(to)
	})
}

// leftBehind says whether a steady subscriber is to get an event anew that was published to its dead connection: it was back in
// time, the relay's calls had timed out, and nothing else happened since.
func (w *world) leftBehind(i int, p publication) bool {
	const looked = 10 * time.Second
	back, wait := w.server.clients[i].back, w.schedule.Settings.duration("rejoin")
	return slices.ContainsFunc(w.blackouts, func(b blackout) bool {
		end := b.to.Add(wait + looked)
		return !p.at.Before(b.to) && p.at.Before(b.to.Add(back)) && back+looked < wait && w.timedOutBetween(p.relay, b.from, p.at) &&
			w.quietBetween(b.from, end) && w.toldAfter(end, p) && !w.unmade(p.at)
	})
}

// toldAfter says whether the relay of a publication had an answer after a time.
func (w *world) toldAfter(at time.Time, p publication) bool {
	return slices.ContainsFunc(w.tells, func(t tell) bool {
		return t.relay == p.relay && t.channel == p.key.channel && t.told.After(at)
	})
}

// missedInABlackout says whether a subscriber was not there, or its connection was dead, when an event was published.
func (w *world) missedInABlackout(i, n int) bool {
	p, back := w.server.log[n], w.server.clients[i].back
	return slices.ContainsFunc(w.blackouts, func(b blackout) bool {
		return b.cut[n] || !p.at.Before(b.from) && p.at.Before(b.to.Add(back))
	})
}

// everMissedInABlackout says the same of any publication of an event, where no relay had to know.
func (w *world) everMissedInABlackout(i int, p publication) bool {
	for n, before := range w.server.log {
		if before.event == p.event && before.sequence == p.sequence && w.missedInABlackout(i, n) && !w.leftBehind(i, before) {
			return true
		}
	}
	return false
}

// quietBetween says whether Redis, the relay and the file had nothing but a blackout between two times.
func (w *world) quietBetween(from, to time.Time) bool {
	for _, f := range w.faulty {
		if !f.from.After(to) && (f.to.IsZero() || !f.to.Before(from)) {
			return false
		}
	}
	blackouts := 0
	for _, b := range w.blackouts {
		if !b.from.After(to) && !b.to.Before(from) {
			blackouts++
		}
	}
	return blackouts == 1 && !w.beganBetween(from, to) && !w.startedBetween(from, to) && !w.setBack(from, to)
}
