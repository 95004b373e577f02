package simulation

import (
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
)

// judgePublications: in order, once, only to enough subscribers, nothing that was discarded.
func (w *world) judgePublications() {
	latest := map[markKey]publication{} // by the script that publishes each event once
	again := map[markKey]publication{}  // by the one that publishes a tail again
	byRun := map[string]map[string]publication{}
	owners := map[string]markKey{} // who published an event first
	holdMax := w.schedule.Settings.duration("holdmax")
	for _, p := range w.server.log {
		topic := topicOf(p.key.channel)
		if least := w.schedule.Settings.number("min." + topic); len(p.heard) < least && holdMax == 0 && !p.again && !w.everFaulty["nonumsub"] {
			w.violate("%s #%d was published to %d subscribers, and %d are required", topic, p.sequence, len(p.heard), least)
		}
		if e := w.poisonBefore(p, topic); e != nil {
			w.violate("%s #%d was published, and #%d before it was to block the topic", topic, p.sequence, e.sequence)
		}
		if at, ok := w.silenced[p.event]; ok && p.at.After(at) {
			w.violate("%s #%d was published after it had been discarded", topic, p.sequence)
		}
		if byRun[p.run] == nil {
			byRun[p.run] = map[string]publication{}
		}
		name := p.key.channel + " " + p.key.origin + " " + p.event + " " + entryID(p.sequence)
		before, inRun := byRun[p.run][name]
		if inRun && !w.lostBetween(p.key, before.at, p.at) {
			w.violate("once: %s #%d %s was published twice within run %s", topic, p.sequence, p.event, p.run[36:])
		}
		byRun[p.run][name] = p
		if p.again {
			if last, ok := again[p.key]; ok && last.run == p.run && p.sequence <= last.sequence && !w.lostBetween(p.key, last.at, p.at) {
				w.violate("ordered: the tail of %s was published again as #%d, #%d", topic, last.sequence, p.sequence)
			}
			again[p.key] = p
			w.judgeRepeat(p)
			continue
		}
		if last, ok := latest[p.key]; ok && p.sequence <= last.sequence && !w.lostBetween(p.key, last.at, p.at) {
			w.violate("ordered: %s #%d was published after #%d", topic, p.sequence, last.sequence)
		}
		latest[p.key] = p
		if owner, ok := owners[p.event+" "+entryID(p.sequence)]; ok && owner != p.key && len(w.rolledBack) == 0 {
			w.violate("%s #%d was published under two origins, and the file was never rolled back", topic, p.sequence)
		}
		owners[p.event+" "+entryID(p.sequence)] = p.key
	}
}

// poisonBefore is an event that was to keep a publication from being made, which an operator had not discarded by then.
func (w *world) poisonBefore(p publication, topic string) *appended {
	if w.schedule.Settings.text("poison") != "block" || len(w.rolledBack) > 0 {
		return nil
	}
	for i, e := range w.events {
		at, discarded := w.gaveUpAt[e.id]
		if e.topic == topic && e.poison && e.sequence < p.sequence && (!discarded || p.at.Before(at)) {
			return &w.events[i]
		}
	}
	return nil
}

// lostBetween says whether Redis lost something of a mark between two times.
func (w *world) lostBetween(key markKey, from, to time.Time) bool {
	for _, l := range w.server.losses {
		if l.key == key && !l.at.Before(from) && !l.at.After(to) {
			return true
		}
	}
	return false
}

// judgeRepeat: only what subscribers may have missed is published again. A look that showed empty buffers, and answers of the same run after it,
// prove that nothing was missed.
func (w *world) judgeRepeat(again publication) {
	var before publication
	found := false
	for _, p := range w.server.log {
		if p.event == again.event && p.sequence == again.sequence && p.key == again.key && p.at.Before(again.at) && p.run != again.run {
			before, found = p, true
		}
	}
	topic := topicOf(again.key.channel)
	if !found {
		if w.lostBetween(again.key, w.began, again.at) {
			return // with the mark went what says that this very process had published it
		}
		w.violate("%s #%d was published again, and never before", topic, again.sequence)
		return
	}
	for _, l := range w.looks {
		const margin = 10 * time.Second // for answers under way
		if l.bytes > 0 || l.at.Before(before.at.Add(margin)) || l.at.After(again.at) {
			continue
		}
		answers := 0
		for _, t := range w.tells {
			if t.relay == l.relay && t.run == before.run && t.channel == again.key.channel && t.at.After(l.at.Add(time.Second)) && t.at.Before(again.at.Add(-time.Minute)) {
				answers++
			}
		}
		if answers >= 3 && w.onlyRelay(l.relay, before.at.Add(-time.Minute), again.at) && len(w.rolledBack) == 0 {
			w.violate("once: %s #%d was published again, and had left all buffers at %v", topic, again.sequence, l.at.Sub(w.began))
			return
		}
	}
}

// onlyRelay says whether a relay was the only one that called Redis between two times.
func (w *world) onlyRelay(number int, from, to time.Time) bool {
	for _, t := range w.tells {
		if t.relay != number && t.at.After(from) && t.at.Before(to) {
			return false
		}
	}
	return true
}

// steady says whether a subscriber is one that no step meddles with: what it misses, the relay is to blame for.
func (w *world) steady(i int) bool { return w.schedule.Clients[i].text("steady") == "yes" }

// judgeSubscribers: those that are always back in time get everything, in order.
func (w *world) judgeSubscribers(in map[uint64]outbox.Info) {
	for i, c := range w.server.clients {
		if !w.steady(i) {
			continue
		}
		if c.thrown > 0 && !w.everFaulty["nolist"] {
			w.violate("%s was disconnected for its output buffer", c.name)
		}
		got := map[string]bool{}
		newest := map[markKey]uint64{}
		for _, n := range c.got {
			p := w.server.log[n]
			if got[p.event] {
				continue
			}
			got[p.event] = true
			if p.sequence < newest[p.key] && !w.poison[p.event] && len(w.rolledBack) == 0 {
				w.violate("ordered: %s got %s #%d after #%d", c.name, topicOf(p.key.channel), p.sequence, newest[p.key])
			}
			newest[p.key] = max(newest[p.key], p.sequence)
		}
		latest := map[string]publication{}
		for _, p := range w.server.log {
			latest[p.event] = p
		}
		for _, p := range w.server.log {
			if c.channels[p.key.channel] && !got[p.event] && p.at.Equal(latest[p.event].at) && !w.mayMiss(in, i, p) {
				w.violate("lost: %s never got %s #%d %s, published at %v to %v", c.name, topicOf(p.key.channel), p.sequence, p.event, p.at.Sub(w.began), p.heard)
			}
		}
	}
}

// mayMiss says whether there is a reason why a subscriber never got an event whose latest publication is p.
func (w *world) mayMiss(in map[uint64]outbox.Info, i int, p publication) bool {
	switch {
	case w.everFaulty["noinfo"], w.everFaulty["nonumsub"]: // a death of Redis is not noticed; subscribers cannot be counted
		return true
	case w.server.runs == 1:
		return false
	case len(w.rolledBack) > 0 && w.rolledBack[len(w.rolledBack)-1].After(p.at): // the file does not know that it was sent
		return true
	case len(w.rolledBack) > 0 && in[p.sequence].MessageID != p.event: // nor of the event at all
		return true
	case w.isDiscarded(p.event):
		return true
	}
	for _, heard := range p.heard {
		if heard == i {
			return false // it was in its buffer when Redis died, and must come again
		}
	}
	// It was not back yet. The relay counts: others may have been there in its place, or its wait was over.
	steady := 0
	for n := range w.server.clients {
		if w.steady(n) && w.server.clients[n].channels[p.key.channel] {
			steady++
		}
	}
	return len(p.heard) >= steady || p.at.Sub(w.startOf(p.run)) >= w.schedule.Settings.duration("rejoin") || !w.countedBefore(p, steady)
}

func (w *world) isDiscarded(id string) bool {
	for _, d := range w.discarded {
		if d == id {
			return true
		}
	}
	return false
}

// countedBefore says whether the relay knew of so many subscribers on an earlier run, for long enough to have stored it.
func (w *world) countedBefore(p publication, subscribers int) bool {
	for _, t := range w.tells {
		if t.channel == p.key.channel && t.run != p.run && t.at.Before(p.at.Add(-time.Minute)) && t.receivers >= subscribers {
			return true
		}
	}
	return false
}

func (w *world) startOf(run string) time.Time {
	for _, t := range w.server.starts {
		if t.run == run {
			return t.at
		}
	}
	return w.began
}

// judgeUnheard: what no one heard is counted as that.
func (w *world) judgeUnheard(in map[uint64]outbox.Info) {
	if len(w.rolledBack) > 0 {
		return // what the older copy does not know, cannot be counted
	}
	type times struct{ all, deaf int }
	published := map[string]times{}
	for _, p := range w.server.log {
		if p.again {
			continue
		}
		n := published[p.event+" "+entryID(p.sequence)]
		n.all++
		if len(p.heard) == 0 {
			n.deaf++
		}
		published[p.event+" "+entryID(p.sequence)] = n
	}
	lost := map[string]bool{}
	for _, l := range w.server.losses {
		lost[l.key.channel] = true
	}
	for _, info := range in {
		n := published[info.MessageID+" "+entryID(info.Sequence)]
		if n.all != 1 || lost[channelOf(info.Topic)] || w.replayed[info.Sequence] || w.replayed[info.ReplayOf] {
			continue
		}
		if heard := n.deaf == 0; heard == (info.State == outbox.Unheard) && (info.State == outbox.Unheard || info.State == outbox.Delivered) {
			w.violate("unheard: %s #%d is %s, and %d of %d publications were heard by no one", info.Topic, info.Sequence, info.State, n.deaf, n.all)
		}
	}
}

// judgeStreams: each event once, in order, none missing.
func (w *world) judgeStreams(in map[uint64]outbox.Info) {
	for _, d := range w.server.doubles {
		w.violate("stream: %s holds #%d %s twice", d.channel, d.event.Sequence, d.event.MessageID)
	}
	s := w.schedule.Settings
	if s.text("streams") != "on" || len(w.rolledBack) > 0 || s.duration("retention") < 24*time.Hour || s.number("maxbytes") != 0 {
		return // what the file does not have any more cannot be restored
	}
	for _, topic := range topics {
		entries := w.server.store.streams[channelOf(topic)].entries
		has := map[uint64]bool{}
		for i, e := range entries {
			has[e.event.Sequence] = true
			if i > 0 && e.event.Sequence <= entries[i-1].event.Sequence {
				w.violate("stream of %s: #%d after #%d", topic, e.event.Sequence, entries[i-1].event.Sequence)
			}
		}
		first := uint64(0)
		if keep := s.number("keep"); len(entries) >= keep { // it may hold some that are older: Redis removes many at once, or none
			first = entries[len(entries)-keep].event.Sequence
		}
		for _, info := range in {
			if info.Topic == topic && info.Sequence >= first && (info.State == outbox.Delivered || info.State == outbox.Unheard) && !has[info.Sequence] {
				w.violate("stream of %s: #%d is missing (%d entries from #%d on)", topic, info.Sequence, len(entries), first)
			}
		}
	}
}
