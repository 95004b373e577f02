package simulation

import (
	"slices"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// replyError is an error that Redis answers with.
type replyError string

func (e replyError) Error() string { return string(e) }

// RedisError makes it one of go-redis's.
func (replyError) RedisError() {}

// The errors that the model's Redis knows.
const (
	errNoScript   = replyError("NOSCRIPT No matching script. Please use EVAL.")
	errLoading    = replyError("LOADING Redis is loading the dataset in memory")
	errReadOnly   = replyError("READONLY You can't write against a read only replica.")
	errOOM        = replyError("OOM command not allowed when used memory > 'maxmemory'.")
	errMisconf    = replyError("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.")
	errNoPerm     = replyError("NOPERM User relay has no permissions to run the 'evalsha' command")
	errScriptPerm = replyError("ERR ACL failure in script: User relay has no permissions to run the command")
	errListPerm   = replyError("NOPERM User relay has no permissions to run the 'client|list' command")
)

// unwritable is the error that a write meets with, or nil.
func (s *server) unwritable() error {
	switch {
	case s.has("readonly"):
		return errReadOnly
	case s.has("oom"):
		return errOOM
	case s.has("misconf"):
		return errMisconf
	}
	return nil
}

// runnable is the error of calling any script, or nil.
func (s *server) runnable() error {
	switch {
	case s.has("loading"):
		return errLoading
	case s.has("noperm"):
		return errNoPerm
	case !s.loaded:
		return errNoScript
	}
	return nil
}

func (s *server) runID() string {
	if s.has("noinfo") {
		return ""
	}
	return s.run
}

func (s *server) numsub(channel string) int {
	if s.has("nonumsub") {
		return -1
	}
	return s.subscribed(channel)
}

// publish is publish.lua.
func (s *server) publish(b relay.Batch) (relay.Reply, error) {
	if err := s.runnable(); err != nil {
		return relay.Reply{}, err
	}
	key := markKey{b.Channel, b.Origin}
	m := s.store.marks[key]
	gone := b.Stream != nil && m.added.Sequence != 0 && !s.store.exists(b.Channel)
	if gone {
		m.added = outbox.Mark{}
	}
	reply := relay.Reply{Mark: m.published, Added: m.added, Run: s.runID(), Receivers: s.numsub(b.Channel)}
	answer := func(outcome relay.Outcome) (relay.Reply, error) {
		reply.Outcome = outcome
		for _, n := range m.unheard {
			if n > b.Predecessor.Sequence {
				reply.Unheard = append(reply.Unheard, n)
			}
		}
		return reply, nil
	}
	if b.Run != "" && b.Run != reply.Run {
		return answer(relay.OtherRun)
	}
	from := -1
	if m.published == b.Predecessor {
		from = 0
	} else {
		for i, e := range b.Events {
			if eventMark(e) == m.published {
				from = i + 1
			}
		}
	}
	behind := b.Stream != nil && b.Added.Sequence > b.Predecessor.Sequence && m.added.Sequence < b.Added.Sequence
	ahead := b.Stream != nil && m.added.Sequence > m.published.Sequence
	switch {
	case from < 0 || behind || ahead && m.added != b.Added:
		return answer(relay.Lost)
	case gone:
		return answer(relay.Gone)
	case from < len(b.Events) && reply.Receivers >= 0 && reply.Receivers < b.Receivers:
		return answer(relay.TooFew)
	}
	if err := s.unwritable(); err != nil {
		return relay.Reply{}, err
	}
	upto := uint64(0)
	if ahead {
		upto = m.added.Sequence
	}
	keep := 0
	if b.Stream != nil {
		defer s.trimmed(b.Channel, s.store.streams[b.Channel], b.Stream.MaxUnread)
		keep = s.store.room(b.Channel, b.Stream)
	}
	known, kept, found := len(m.unheard), m.unheard, m.published
	outcome := relay.OK
	for n, e := range b.Events[from:] {
		if b.Stream != nil && e.Sequence > upto {
			if s.has("noxadd") {
				outcome, reply.Err = relay.Refused, errScriptPerm
				break
			}
			predecessor := b.Predecessor.Sequence
			if i := from + n; i > 0 {
				predecessor = b.Events[i-1].Sequence
			}
			if found.Sequence != 0 {
				predecessor = max(predecessor, m.added.Sequence)
			}
			s.added(key, e, predecessor, b.Stream, keep)
			m.added = eventMark(e)
		}
		if s.has("nopublish") {
			outcome, reply.Err = relay.Refused, errScriptPerm
			break
		}
		if heard := s.deliver(key, e, false); heard == 0 {
			m.unheard = append(slices.Clip(m.unheard), e.Sequence)
		}
		m.published = eventMark(e)
		reply.Published++
	}
	reply.Mark, reply.Added = m.published, m.added
	if len(m.unheard) > known {
		kept = m.unheard[max(0, len(m.unheard)-1000):]
	} else if len(b.Events) == 0 && known > 0 {
		kept = slices.DeleteFunc(slices.Clone(m.unheard), func(n uint64) bool { return n <= b.Stored })
	}
	if len(b.Events) > from {
		m.redoRun, m.redoSeq = s.runID(), m.published.Sequence
	}
	written := m
	written.unheard = kept
	s.write(key, written)
	return answer(outcome)
}

// republish is republish.lua.
func (s *server) republish(b relay.Batch) (relay.Reply, error) {
	if err := s.runnable(); err != nil {
		return relay.Reply{}, err
	}
	key := markKey{b.Channel, b.Origin}
	m := s.store.marks[key]
	reply := relay.Reply{Outcome: relay.OK, Mark: m.published, Run: s.runID(), Receivers: s.numsub(b.Channel)}
	if b.Run != reply.Run {
		reply.Outcome = relay.OtherRun
		return reply, nil
	}
	var unheard []uint64
	if m.redoRun == reply.Run {
		for _, n := range m.redoUnheard {
			if n >= b.Events[0].Sequence {
				unheard = append(unheard, n)
			}
		}
	} else {
		m.redoSeq = 0
	}
	if b.Events[len(b.Events)-1].Sequence > m.redoSeq && reply.Receivers >= 0 && reply.Receivers < b.Receivers {
		reply.Outcome = relay.TooFew
		return reply, nil
	}
	if err := s.unwritable(); err != nil {
		return relay.Reply{}, err
	}
	m.redoRun = reply.Run
	for _, e := range b.Events {
		if e.Sequence <= m.redoSeq {
			continue
		}
		if s.has("nopublish") {
			reply.Outcome, reply.Err = relay.Refused, errScriptPerm
			break
		}
		if heard := s.deliver(key, e, true); heard == 0 {
			unheard = append(unheard, e.Sequence)
		}
		m.redoSeq = e.Sequence
		reply.Published++
	}
	if reply.Published > 0 {
		m.redoUnheard = unheard
	}
	reply.Unheard = unheard
	s.write(key, m)
	return reply, nil
}

// restore is restore.lua.
func (s *server) restore(r relay.Repair) (relay.Reply, error) {
	if err := s.runnable(); err != nil {
		return relay.Reply{}, err
	}
	key := markKey{r.Channel, r.Origin}
	m := s.store.marks[key]
	marked := m.added
	if r.Stream != nil && m.added.Sequence != 0 && !s.store.exists(r.Channel) {
		m.added = outbox.Mark{}
	}
	reply := relay.Reply{Outcome: relay.Lost, Receivers: -1, Mark: m.published, Added: m.added}
	if m.published != r.Reported.Published || r.Stream != nil && m.added != r.Reported.Added {
		return reply, nil
	}
	if err := s.unwritable(); err != nil {
		return relay.Reply{}, err
	}
	keep := 0
	if len(r.Events) > 0 {
		defer s.trimmed(r.Channel, s.store.streams[r.Channel], r.Stream.MaxUnread)
		keep = s.store.room(r.Channel, r.Stream)
	}
	for i, e := range r.Events {
		if s.has("noxadd") {
			reply.Outcome, reply.Err = relay.Refused, errScriptPerm
			reply.Mark, reply.Added = m.published, m.added
			if i == 0 {
				m.added = marked
			}
			s.write(key, m)
			return reply, nil
		}
		s.added(key, e, r.Predecessors[i], r.Stream, keep)
		m.published, m.added = eventMark(e), eventMark(e)
	}
	m.published = r.Set.Published
	if r.Stream != nil {
		m.added = r.Set.Added
	}
	s.write(key, m)
	reply.Outcome, reply.Mark, reply.Added = relay.OK, r.Set.Published, r.Set.Added
	return reply, nil
}

// page is how many entries newest lists at once.
const page = 200

// newest is newest.lua, but for its limit of bytes.
func (s *server) newest(channel, before string) (list []relay.Entry, err error) {
	if err := s.runnable(); err != nil {
		return nil, err
	}
	for _, e := range slices.Backward(s.store.streams[channel].entries) {
		if before == "" || e.id < parseEntryID(before) {
			list = append(list, relay.Entry{ID: entryID(e.id), Origin: e.origin, Mark: e.event})
		}
		if len(list) == page {
			break
		}
	}
	return list, nil
}

func eventMark(e outbox.Entry) outbox.Mark {
	return outbox.Mark{Sequence: e.Sequence, MessageID: e.MessageID}
}
