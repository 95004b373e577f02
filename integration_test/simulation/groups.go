package simulation

import (
	"maps"
	"slices"
	"time"
)

// createGroup is XGROUP CREATE: of a group that begins with the oldest entry, or with the next one that is added. false: there
// is no stream, or the group is there already.
func (s store) createGroup(channel, name string, onlyNew bool) bool {
	st, exists := s.streams[channel]
	if _, there := st.groups[name]; !exists || there {
		return false
	}
	g := group{}
	if onlyNew {
		g.delivered = st.last
	}
	s.setGroup(channel, name, g)
	return true
}

// readGroup is XREADGROUP of up to n entries, of which all but the first left ones are acknowledged.
func (s store) readGroup(channel, name string, n, left int) {
	g, there := s.streams[channel].groups[name]
	if !there {
		return
	}
	g.pending = slices.Clone(g.pending) // a copy of the store shares them
	for _, e := range s.streams[channel].entries {
		if e.id <= g.delivered {
			continue
		}
		if n--; n < 0 {
			break
		}
		if g.delivered = e.id; left > 0 {
			g.pending = append(g.pending, e.id)
			left--
		}
	}
	s.setGroup(channel, name, g)
}

// ackGroup is XACK of all that a group has not acknowledged yet.
func (s store) ackGroup(channel, name string) {
	if g, there := s.streams[channel].groups[name]; there {
		g.pending = nil
		s.setGroup(channel, name, g)
	}
}

// removeGroup is XGROUP DESTROY.
func (s store) removeGroup(channel, name string) {
	if st, exists := s.streams[channel]; exists {
		st.groups = maps.Clone(st.groups)
		delete(st.groups, name)
		s.streams[channel] = st
	}
}

func (s store) setGroup(channel, name string, g group) {
	st := s.streams[channel]
	if st.groups = maps.Clone(st.groups); st.groups == nil {
		st.groups = map[string]group{}
	}
	st.groups[name] = g
	s.streams[channel] = st
}

// onGroups is a step of a reader that has a consumer group: nothing, where Redis does not take it.
func onGroups(do func(s store, channel, name string, a Args)) func(*world, Args) {
	return func(w *world, a Args) {
		s := w.server
		if s.up && s.frozen.IsZero() && !s.has("loading") && s.unwritable() == nil {
			do(s.store, channelOf(a.text("topic")), a.text("name"), a)
			s.history.keep(time.Now(), s.store)
		}
	}
}

// cut is a trimming that took from a stream what a group had still to read, though it was not at its limit.
type cut struct {
	at             time.Time
	channel, group string
	entry          uint64
	left, limit    int
}

// trimmed looks at what a call has removed from a stream that was as given before it. What it does not have any more is what is
// in front of its first entry, for Redis trims from there: also what the call itself had added.
func (s *server) trimmed(channel string, before stream, limit int) {
	now := s.store.streams[channel]
	oldest, kept := before.last+1, now.last+1
	if len(before.entries) > 0 {
		oldest = before.entries[0].id
	}
	if len(now.entries) > 0 {
		kept = now.entries[0].id
	}
	for name, g := range now.groups {
		needed := append([]uint64{max(oldest, g.delivered+1)}, g.pending...) // what it reads next, and what it has not acknowledged
		for _, entry := range needed {
			if entry >= oldest && entry < kept && len(now.entries) < limit {
				s.cuts = append(s.cuts, cut{time.Now(), channel, name, entry, len(now.entries), limit})
			}
		}
	}
}

// judgeGroups: a stream keeps what its groups have still to read, up to its limit.
func (w *world) judgeGroups() {
	for _, c := range w.server.cuts {
		w.violate("stream: entry %d of %s was trimmed at %v, group %s had still to read it, and %d of %d entries were left", c.entry, c.channel,
			c.at.Sub(w.began), c.group, c.left, c.limit)
	}
}
