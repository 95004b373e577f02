package simulation

import (
	"fmt"
	"slices"
	"time"
)

// blackout is a time in which the network between Redis and everybody lets nothing through, and resets nothing.
type blackout struct{ from, to time.Time }

// ghost is a connection that a subscriber has given up, and that Redis still counts: until its time-out, or until the system of the
// subscriber answers what is sent to it with a reset.
type ghost struct {
	name     string
	channels map[string]bool
	until    time.Time
	resets   time.Time // when the network is back; zero: nobody answers
}

// blackOut lets the network go silent. Subscribers give their connections up, and are back some time after it is.
func (w *world) blackOut(a Args) {
	const keepalive = 300 * time.Second
	if w.net.mode != "" {
		return
	}
	now, d := time.Now(), a.duration("for")
	back := now.Add(d)
	for _, c := range w.server.clients {
		if !c.connected(w.server.clock()) {
			continue
		}
		g := ghost{name: c.connection(), channels: c.channels, until: back.Add(keepalive)}
		if a.text("resets") == "yes" {
			g.resets = back
		}
		w.server.ghosts = append(w.server.ghosts, g)
		c.disconnect(w.server.clock())
		c.from = back.Add(c.back)
	}
	w.blackouts = append(w.blackouts, blackout{now, back})
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

// inDoubt says whether a relay could think at a time that subscribers had been left behind dead connections: since calls timed
// out, and as long as it waits for subscribers after it was ready again.
func (w *world) inDoubt(relay int, topic string, at time.Time) bool {
	var last time.Time
	for _, t := range w.timeOuts {
		if t.relay == relay && t.at.Before(at) {
			last = t.at
		}
	}
	if last.IsZero() {
		return false
	}
	if w.schedule.Settings.number("min."+topic) > 0 {
		return true // what is to be published again may have been held since
	}
	end, ready, told := at, false, last
	for _, t := range w.tells {
		if t.relay != relay || t.channel != channelOf(topic) || t.asked.Before(last) {
			continue
		}
		if !ready && t.insisted || ready && !t.insisted && !told.After(end) { // an outage meanwhile makes it longer, however long it is
			ready, end = true, t.told.Add(w.schedule.Settings.duration("rejoin")+5*time.Second)
		}
		told = t.told
	}
	return !ready || !at.After(end)
}

// leftBehind says whether a steady subscriber was to get an event again that was published to its dead connection: it was back in time,
// the relay's calls had timed out, and nothing else happened since.
func (w *world) leftBehind(i int, p publication) bool {
	c := w.server.clients[i]
	wait := w.schedule.Settings.duration("rejoin")
	for _, b := range w.blackouts {
		end := b.to.Add(wait)
		noticed := false
		for _, t := range w.timeOuts {
			noticed = noticed || t.relay == p.relay && t.at.After(b.from) && t.at.Before(p.at)
		}
		if noticed && !p.at.Before(b.to) && p.at.Before(b.to.Add(c.back)) && c.back+5*time.Second < wait &&
			w.quietBetween(b.from, end) && !w.unmade(p.at) {
			return true
		}
	}
	return false
}

// blackedOut says whether a subscriber was not yet back from a blackout at a time.
func (w *world) blackedOut(i int, at time.Time) bool {
	return slices.ContainsFunc(w.blackouts, func(b blackout) bool {
		return !at.Before(b.from) && at.Before(b.to.Add(w.server.clients[i].back))
	})
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
