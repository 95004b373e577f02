package simulation

import (
	"slices"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
)

// judgeBuffers: Redis throws out no subscriber that reads, however slowly, for being sent too much. Each relay begins without
// knowing what the one before it has sent, and where Redis does not tell, they send at a fixed pace.
func (w *world) judgeBuffers() {
	for _, c := range w.server.clients {
		for _, t := range c.thrown {
			if !t.stood && !w.wasFaulty("nolist", t.filling, t.at) && !w.beganBetween(t.filling, t.at) {
				w.violate("%s was disconnected at %v for its output buffer, which was last empty at %v", c.name, t.at.Sub(w.began), t.filling.Sub(w.began))
			}
		}
	}
}

// beganBetween says whether a relay began between two times.
func (w *world) beganBetween(from, to time.Time) bool {
	for _, l := range w.loads {
		if !l.at.Before(from) && !l.at.After(to) {
			return true
		}
	}
	return false
}

// judgeUnheard: what no one heard is counted as that. What was published again to someone at last may be either, when no one
// heard it before.
func (w *world) judgeUnheard(in map[uint64]outbox.Info) {
	type times struct {
		first     int // by the script that publishes each event once
		firstDeaf bool
		deaf      int // publications that no one heard
		latest    publication
	}
	published := map[string]times{}
	for _, p := range w.server.log {
		n := published[p.event+" "+entryID(p.sequence)]
		if !p.again {
			n.first++
			// A copy from before then does not know, nor does one that was made while replicas were waited for.
			n.firstDeaf = len(p.heard) == 0 && !w.unmade(p.at) && !(w.schedule.Settings.number("replicas") > 0 && w.setBack(p.at, time.Now()))
		}
		if len(p.heard) == 0 {
			n.deaf++
		}
		n.latest = p
		published[p.event+" "+entryID(p.sequence)] = n
	}
	for _, info := range in {
		n := published[info.MessageID+" "+entryID(info.Sequence)]
		if n.first != 1 || w.replayed[info.Sequence] || w.replayed[info.ReplayOf] || w.unmade(n.latest.at) ||
			w.lostBetween(n.latest.key, n.latest.at, time.Now()) {
			continue
		}
		switch {
		case info.State == outbox.Unheard && n.deaf == 0,
			info.State == outbox.Delivered && (n.firstDeaf || n.latest.again && len(n.latest.heard) == 0):
			w.violate("unheard: %s #%d is %s, %d of its publications were heard by no one, and the latest by %d", info.Topic, info.Sequence,
				info.State, n.deaf, len(n.latest.heard))
		}
	}
}

// lostBetweenCopies says whether Redis died between two older copies that were put in the place of the file after a time. What a
// stream lost then is not missed by the second copy, for it holds what the first has added under a fresh origin.
func (w *world) lostBetweenCopies(after time.Time) bool {
	return slices.ContainsFunc(w.server.starts, func(s start) bool {
		return w.setBack(after, s.at) && w.setBack(s.at, time.Now())
	})
}

// undone says whether an event was discarded, and an older copy put back that does not know that. Where Redis has a later
// event, the copy cannot know whether it had this one.
func (w *world) undone(id string) bool { return w.givenUp[id] && len(w.rolledBack) > 0 }

// outlivedItsFile says whether a relay began before an older copy was put in the place of its file, and was heard of after
// that.
func (w *world) outlivedItsFile(relay int, at time.Time) bool {
	for l, found := range w.loads {
		if l.relay == relay && w.setBack(found.at, at) {
			return true
		}
	}
	return false
}

// judgeStreams: each event once, in order, none missing.
func (w *world) judgeStreams(in map[uint64]outbox.Info) {
	for _, d := range w.server.doubles {
		if w.outlivedItsFile(d.relay, d.at) {
			continue // what a relay had sent before an older copy was put back
		}
		w.violate("stream: %s holds #%d %s twice", d.channel, d.event.Sequence, d.event.MessageID)
	}
	s := w.schedule.Settings
	if s.text("streams") != "on" || s.duration("retention") < 24*time.Hour || s.number("maxbytes") != 0 {
		return // what the file does not have any more cannot be restored
	}
	type name struct {
		origin string
		entry
	}
	published := map[name]bool{}
	for _, p := range w.server.log {
		if !p.again && !w.lostBetweenCopies(p.at) { // what is published again was added under an origin before
			published[name{p.key.origin, entry{p.event, p.sequence}}] = true
		}
	}
	for _, topic := range topics {
		origin := w.positionOf(topic).Origin // one that the file took after an older copy had been put in its place begins anew
		entries := w.server.store.streams[channelOf(topic)].entries
		has := map[uint64]bool{}
		for i, e := range entries {
			has[e.event.Sequence] = true
			if i > 0 && e.event.Sequence <= entries[i-1].event.Sequence && len(w.rolledBack) == 0 {
				w.violate("stream of %s: #%d after #%d", topic, e.event.Sequence, entries[i-1].event.Sequence)
			}
			if i > 0 && len(w.rolledBack) == 0 {
				w.judgePredecessor(topic, entries[i-1], e, len(entries)-i >= s.number("keep"), in)
			}
		}
		first := uint64(0)
		if keep := s.number("keep"); len(entries) >= keep { // it may hold some that are older: Redis removes many at once, or none
			first = entries[len(entries)-keep].event.Sequence
		}
		for _, info := range in {
			if info.Topic == topic && info.Sequence >= first && published[name{origin, entry{info.MessageID, info.Sequence}}] && !w.undone(info.MessageID) && (info.State == outbox.Delivered || info.State == outbox.Unheard) && !has[info.Sequence] {
				w.violate("stream of %s: #%d is missing (%d entries from #%d on)", topic, info.Sequence, len(entries), first)
			}
		}
	}
}

// judgePredecessor: an entry names the one before it, so that readers miss nothing unnoticed, and are told of nothing that they do
// not miss. An event that was discarded, or replayed as another one, while Redis took it is not added again; nor is more than the
// stream keeps, so that a reader may miss what was before the first that was added again.
func (w *world) judgePredecessor(topic string, before, e streamEntry, first bool, in map[uint64]outbox.Info) {
	if e.predecessor == before.event.Sequence {
		return
	}
	switch state, last := in[e.predecessor].State, in[before.event.Sequence].State; {
	case e.predecessor < before.event.Sequence && (last == outbox.Discarded || last == outbox.Replayed): // a reader that had it misses nothing
	case e.predecessor > before.event.Sequence && (first || state == outbox.Discarded || state == outbox.Replayed):
	default:
		w.violate("stream of %s: #%d names #%d as its predecessor, and follows #%d", topic, e.event.Sequence, e.predecessor, before.event.Sequence)
	}
}
