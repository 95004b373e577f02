package simulation

import (
	"slices"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
)

// judgePublications: in order, once, only to enough subscribers, nothing that was discarded.
func (w *world) judgePublications() {
	latest := map[markKey]publication{} // by the script that publishes each event once
	again := map[markKey]publication{}  // by the one that publishes a tail again
	byRun := map[string]map[string]publication{}
	owners := map[entry]markKey{}     // who published an event first
	enough := map[markKey]time.Time{} // when there were enough: Redis may close connections for what a script publishes, and it goes on
	holdMax := w.schedule.Settings.duration("holdmax")
	for _, p := range w.server.log {
		topic := topicOf(p.key.channel)
		switch least := w.schedule.Settings.number("min." + topic); {
		case len(p.heard) >= least:
			enough[p.key] = p.at
		case holdMax == 0 && !w.wasFaulty("nonumsub", p.at, p.at) && !enough[p.key].Equal(p.at):
			w.violate("%s #%d was published to %d subscribers, and %d are required", topic, p.sequence, len(p.heard), least)
		}
		if e := w.poisonBefore(p, topic); e != nil {
			w.violate("%s #%d was published, and #%d before it was to block the topic", topic, p.sequence, e.sequence)
		}
		if at, ok := w.silenced[entry{p.event, p.sequence}]; ok && p.at.After(at) {
			w.violate("%s #%d was published after it had been discarded", topic, p.sequence)
		}
		if byRun[p.run] == nil {
			byRun[p.run] = map[string]publication{}
		}
		name := p.key.channel + " " + p.key.origin + " " + p.event + " " + entryID(p.sequence)
		before, inRun := byRun[p.run][name]
		if inRun && !w.lostBetween(p.key, before.at, p.at) && !(p.again && (w.unmade(before.at) || w.untold(before, p))) {
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
		if owner, ok := owners[entry{p.event, p.sequence}]; ok && owner != p.key && !w.setBack(w.began, p.at) {
			w.violate("%s #%d was published under two origins, and the file was never rolled back", topic, p.sequence)
		}
		owners[entry{p.event, p.sequence}] = p.key
	}
}

// poisonBefore is an event that was to keep a publication from being made, which an operator had not discarded by then.
func (w *world) poisonBefore(p publication, topic string) *appended {
	if w.schedule.Settings.text("poison") != "block" || len(w.rolledBack) > 0 {
		return nil
	}
	for i, e := range w.events {
		at, discarded := w.gaveUpAt[entry{e.id, e.sequence}]
		if e.topic == topic && e.poison && e.sequence < p.sequence && (!discarded || p.at.Before(at)) {
			return &w.events[i]
		}
	}
	return nil
}

// untold says whether the relay that published an event again could not know that the same process of Redis had taken it: that
// did not tell its run then, and the relay that had been answered died before it stored anything.
func (w *world) untold(before, again publication) bool {
	return before.relay != again.relay && w.wasFaulty("noinfo", before.at, before.at)
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

// judgeRepeat: only what subscribers may have missed is published again: what the relay had got to know as taken in the 0.2 s
// before Redis was last heard of (2 s where Redis does not list its clients), or a look later where nothing else was to be sent, or
// in the minute before while a look showed that somebody had not read all.
func (w *world) judgeRepeat(again publication) {
	topic := topicOf(again.key.channel)
	var before publication
	found := false
	for _, p := range w.server.log {
		if p.event == again.event && p.sequence == again.sequence && p.key.channel == again.key.channel && p.at.Before(again.at) {
			// within one run only when the mark was lost, and with it what says that this very process had published it,
			// or when the file has a fresh origin, which has another mark, or is a copy that knows of an earlier process only,
			// or when Redis did not tell its run
			if p.run != again.run || p.key != again.key || w.lostBetween(again.key, p.at, again.at) || w.unmade(p.at) || w.untold(p, again) {
				before, found = p, true
			}
		}
	}
	if !found {
		// A copy from before an event was discarded has it as pending again, and a mark behind it tells that it was taken.
		if at, discarded := w.gaveUpAt[entry{again.event, again.sequence}]; !discarded || !w.unmade(at) {
			w.violate("%s #%d was published again, and never before", topic, again.sequence)
		}
		return
	}
	if w.unmade(before.at) { // the copy may know of an earlier run only, and then what was sent since comes again
		return
	}
	const slow, moment = time.Minute, time.Second
	tail, idle := 200*time.Millisecond, 250*time.Millisecond
	known, last := w.knownAndLast(before, again)
	switch l := w.loads[load{again.relay, topic}]; {
	case known.IsZero() && again.sequence <= l.cursor && (l.tailFrom == 0 || again.sequence < l.tailFrom):
		w.violate("once: %s #%d was published again, and in the file the tail began at #%d", topic, again.sequence, l.tailFrom)
	case known.IsZero():
		known = l.at
	}
	if before.again && before.relay == again.relay && known.Before(before.at) { // a tail that is published again is one anew
		known = before.at
	}
	age := last.Sub(known)
	if w.wasFaulty("nolist", known.Add(-2*time.Second), last) {
		tail, idle = 2*time.Second, 2*time.Second
	}
	unread := w.sawUnread(again.relay, known.Add(tail), last)
	// A relay that gets ready again does not look; one that is ready looks when it calls.
	unable := w.calledReady(again, known.Add(tail), last) < 3
	if age <= tail+idle+moment || age <= slow+moment && (unread || unable) {
		return
	}
	w.violate("once: %s #%d, published at %v and known at %v, was published again, and Redis was last heard of at %v", topic, again.sequence,
		before.at.Sub(w.began), known.Sub(w.began), last.Sub(w.began))
}

// knownAndLast is when the relay that published an event again got to know that Redis had taken it, zero when it had not when
// it began; and when it sent the last call but one that the Redis answered which had taken it, once it had got ready for that.
func (w *world) knownAndLast(before, again publication) (known, last time.Time) {
	var asked time.Time
	for _, t := range w.tells {
		if t.relay != again.relay || t.channel != again.key.channel || t.told.After(again.at) {
			continue
		}
		if known.IsZero() && t.told.After(before.at) && t.origin == before.key.origin && t.mark >= again.sequence {
			known = t.told
		}
		if t.insisted && t.run == before.run && t.asked.After(asked) {
			last, asked = asked, t.asked
		}
	}
	return known, last
}

// calledReady is how many calls were answered that the relay of a publication had sent between two times, when it was ready
// for that Redis. The batches of a call count as one.
func (w *world) calledReady(p publication, from, to time.Time) int {
	calls := map[time.Time]bool{}
	for _, t := range w.tells {
		if t.relay == p.relay && t.channel == p.key.channel && t.insisted && t.asked.After(from) && !t.asked.After(to) {
			calls[t.asked] = true
		}
	}
	return len(calls)
}

// sawUnread says whether a relay saw between two times that something was still to be read.
func (w *world) sawUnread(relay int, from, to time.Time) bool {
	return slices.ContainsFunc(w.looks, func(l look) bool {
		return l.relay == relay && l.at.After(from) && !l.at.After(to) && l.bytes > 0
	})
}

// steady says whether a subscriber is one that no step meddles with: what it misses, the relay is to blame for.
func (w *world) steady(i int) bool { return w.schedule.Clients[i].text("steady") == "yes" }

// judgeSubscribers: those that are always back in time get everything, in order.
func (w *world) judgeSubscribers(in map[uint64]outbox.Info) {
	for i, c := range w.server.clients {
		if !w.steady(i) {
			continue
		}
		got := map[string]bool{}
		newest := map[markKey]uint64{}
		for _, n := range c.got {
			p := w.server.log[n]
			if got[p.event] {
				continue
			}
			got[p.event] = true
			if p.sequence < newest[p.key] && !(p.again && w.mightMissBefore(in, i, n)) && !w.poison[p.event] && !w.setBack(w.began, p.at) {
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

// mightMissBefore says whether there was a reason why a subscriber had not got an event when it was published before the nth
// publication: then it may come late, when a tail is published again.
func (w *world) mightMissBefore(in map[uint64]outbox.Info, i, n int) bool {
	again := w.server.log[n]
	for n--; n >= 0; n-- {
		if p := w.server.log[n]; p.event == again.event && p.sequence == again.sequence {
			return w.mayMiss(in, i, p)
		}
	}
	return false
}

// mayMiss says whether there is a reason why a subscriber never got an event whose latest publication is p.
func (w *world) mayMiss(in map[uint64]outbox.Info, i int, p publication) bool {
	switch {
	case w.thrownWith(i, p.at): // a frozen Redis left it in a buffer that was over a limit for too long
		return true
	case w.server.runs == 1:
		return false
	case w.wasFaulty("noinfo", w.startBefore(p.run), w.settledAfter(p)): // a death of Redis is not noticed, neither this one nor the one before
		return true
	case !w.identified(p): // nor the one before is noticed by a topic that was idle since Redis told its run again
		return true
	case w.wasFaulty("nonumsub", w.startOf(p.run), w.settledAfter(p)): // subscribers cannot be counted
		return true
	case w.unmade(p.at): // the file does not know that it was sent
		return true
	case len(w.rolledBack) > 0 && in[p.sequence].MessageID != p.event: // nor of the event at all, which came late
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
	return w.seemedBack(p, steady) || len(p.heard) >= steady || p.at.Sub(w.startOf(p.run)) >= w.schedule.Settings.duration("rejoin") || !w.countedBefore(p, steady) || w.countedFewer(p, steady)
}

// thrownWith says whether Redis disconnected a subscriber after it had stood still, and what was published at a time was in its
// buffer, or it was not back.
func (w *world) thrownWith(i int, at time.Time) bool {
	c := w.server.clients[i]
	return slices.ContainsFunc(c.thrown, func(t throw) bool {
		return t.stood && !at.Before(t.filling) && !at.After(t.at.Add(c.back))
	})
}

// countedFewer says whether fewer subscribers were there when they were counted last before the run of a publication, because a
// wait for them had ended when they could not be counted.
func (w *world) countedFewer(p publication, subscribers int) bool {
	var last, all tell
	for _, t := range w.tells {
		if t.channel == p.key.channel && t.receivers >= 0 && t.told.Before(w.startOf(p.run)) {
			if last = t; t.receivers >= subscribers {
				all = t
			}
		}
	}
	return last.receivers < subscribers && w.wasFaulty("nonumsub", all.told, last.told)
}

// seemedBack says whether the relay was told of so many subscribers, some of whom may have left at once, before a publication.
func (w *world) seemedBack(p publication, subscribers int) bool {
	return slices.ContainsFunc(w.tells, func(t tell) bool {
		return t.channel == p.key.channel && t.run == p.run && t.receivers >= subscribers && !t.told.After(p.at)
	})
}

// identified says whether a relay could notice that Redis had died before the run of a publication: the last answer about the
// topic from before told which run it came from, or one after it had forgotten something.
func (w *world) identified(p publication) bool {
	identified := true
	var mark uint64
	for _, t := range w.tells {
		switch {
		case t.channel != p.key.channel || t.told.After(p.at):
		case t.told.Before(w.startOf(p.run)):
			identified, mark = t.run != "", t.mark
		case t.origin == p.key.origin && t.mark < mark:
			return true
		}
	}
	return identified
}

// startBefore is when the run before another one began.
func (w *world) startBefore(run string) time.Time {
	at := w.began
	for i, s := range w.server.starts {
		if s.run == run && i > 0 {
			at = w.server.starts[i-1].at
		}
	}
	return at
}

// settledAfter is when the first run of Redis after the one of a publication had been up for so long that what that one took
// with it was dealt with, or the end.
func (w *world) settledAfter(p publication) time.Time {
	for i, s := range w.server.starts[:len(w.server.starts)-1] {
		if next := w.server.starts[i+1].at; next.After(p.at) && s.run != p.run && next.Sub(s.at) > w.patience(topicOf(p.key.channel)) {
			return next
		}
	}
	return time.Now()
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
	counted := false
	var last tell
	for _, t := range w.tells {
		if t.channel != p.key.channel || t.run == p.run || t.told.After(p.at) {
			continue
		}
		forgot := t.origin == last.origin && t.mark < last.mark
		if last.run == "" && !forgot && w.startedBetween(last.told, t.told) {
			counted = false // unnoticed: those who were not back yet seemed to have left
		}
		counted = counted || t.receivers >= subscribers && t.told.Before(p.at.Add(-time.Minute))
		last = t
	}
	return counted
}

func (w *world) startedBetween(from, to time.Time) bool {
	for _, s := range w.server.starts {
		if s.at.After(from) && s.at.Before(to) {
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
