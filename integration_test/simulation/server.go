package simulation

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// server is Redis as its clients know it: one address, behind which processes come and go.
type server struct {
	run     string // of the process that answers
	runs    int
	up      bool
	started time.Time
	frozen  time.Time       // since when; zero: it is not
	faults  map[string]bool // what is wrong with it, by name
	loaded  bool            // it knows the scripts
	store   store
	history history
	persist persistence
	queue   []queued // calls that reached a frozen process
	replicas
	ids map[uint64]streamID // of entries, by sequence, as a real server has chosen them

	clients []*subscriber
	caller  int // the relay whose call is run
	log     []publication
	losses  []loss
	doubles []double // events that a stream was given twice
	cuts    []cut    // what a stream was trimmed of, and a group had still to read
	starts  []start
	trace   func(format string, args ...any)
}

// queued is a call that waits for a frozen process: it runs when that goes on, or is dropped when it dies.
type queued struct{ run, drop func() }

// persistence is how much a process that is killed leaves behind.
type persistence string

const (
	persistAlways persistence = "always" // each write
	persistLate   persistence = "late"   // what was there at the last full interval
	persistNone   persistence = "none"
)

// persistEvery is the interval of persistLate.
const persistEvery = 20 * time.Second

// double is an event that a stream was given while it held it already.
type double struct {
	channel     string
	event       outbox.Mark
	first, then string // origins
	at          time.Time
	relay       int // whose call it was
}

// start is when a process began.
type start struct {
	run string
	at  time.Time
}

// loss is a mark that went back, or was changed, by a fault, or whose stream was.
type loss struct {
	at  time.Time
	key markKey
}

func newServer(persist persistence, clients []*subscriber, trace func(string, ...any)) *server {
	s := &server{faults: map[string]bool{}, store: newStore(), persist: persist, clients: clients, trace: trace}
	s.start(newStore())
	return s
}

func (s *server) has(fault string) bool { return s.faults[fault] }

// clock stands still while the process is frozen.
func (s *server) clock() time.Time {
	if !s.frozen.IsZero() {
		return s.frozen
	}
	return time.Now()
}

// start begins a process with a store.
func (s *server) start(kept store) {
	s.runs++
	s.run, s.up, s.started, s.loaded = fmt.Sprintf("%040x", s.runs), true, time.Now(), false
	s.frozen = time.Time{}
	s.starts = append(s.starts, start{s.run, s.started})
	s.replace(kept)
	s.history = history{{store: s.store.clone()}} // as old as can be: it is persisted, and replicas have it
	s.history.keep(time.Now(), s.store)
	for _, c := range s.clients {
		c.from = s.started.Add(c.back)
	}
}

// lost says whether it has ever lost something of a channel.
func (s *server) lost(channel string) bool {
	return slices.ContainsFunc(s.losses, func(l loss) bool { return l.key.channel == channel })
}

// replace puts another store in place and takes note of what is lost with it.
func (s *server) replace(with store) {
	for key, before := range s.store.marks {
		after := with.marks[key]
		entries := func(s store) int { return len(s.streams[key.channel].entries) }
		if after.published != before.published || after.added != before.added || len(after.unheard) < len(before.unheard) ||
			entries(with) < entries(s.store) {
			s.losses = append(s.losses, loss{time.Now(), key})
		}
	}
	s.store = with
}

// kept is what a process leaves behind that dies now.
func (s *server) kept() store {
	switch s.persist {
	case persistAlways:
		return s.store.clone()
	case persistLate:
		return s.history.at(time.Now().Truncate(persistEvery))
	}
	return newStore()
}

// kill ends the process at once: what its subscribers' buffers hold is lost, and calls that it had not got to as well. It
// returns what a process that is started again finds.
func (s *server) kill() (kept store) {
	kept = s.kept()
	now := s.clock()
	for _, c := range s.clients {
		c.disconnect(now)
	}
	calls := s.queue
	s.up, s.queue, s.frozen = false, nil, time.Time{}
	for _, call := range calls {
		call.drop()
	}
	return kept
}

// leave ends the process, or its being the master, when all that it had to send is sent.
func (s *server) leave() (kept store) {
	for _, c := range s.clients {
		c.drain(farFuture)
	}
	kept = s.store.clone()
	s.kill()
	return kept
}

// freeze stops the process, thaw lets it go on.
func (s *server) freeze() {
	if s.up && s.frozen.IsZero() {
		s.frozen = time.Now()
	}
}

func (s *server) thaw() {
	if !s.up || s.frozen.IsZero() {
		return
	}
	for _, c := range s.clients {
		c.stall(time.Since(s.frozen))
	}
	s.frozen = time.Time{}
	calls := s.queue
	s.queue = nil
	for _, call := range calls {
		call.run()
	}
}

// evict removes what an eviction or an operator might.
func (s *server) evict(channel string, marks, streams bool) {
	if !s.up {
		return
	}
	next := s.store.clone()
	for key := range next.marks {
		if marks && (channel == "" || key.channel == channel) {
			delete(next.marks, key)
		}
	}
	for name := range next.streams {
		if streams && (channel == "" || name == channel) {
			delete(next.streams, name)
		}
	}
	s.replace(next)
	s.history.keep(time.Now(), s.store)
}

// write stores a mark.
func (s *server) write(key markKey, m mark) {
	s.store.marks[key] = m
	s.history.keep(time.Now(), s.store)
}

// added adds an event to the stream of a channel.
func (s *server) added(key markKey, e outbox.Entry, predecessor uint64, to *relay.Stream, keep int) {
	for _, old := range s.store.streams[key.channel].entries {
		again := e.ReplayOf == 0 || old.origin == key.origin // a replay may be appended anew after a rollback
		if again && old.event == eventMark(e) {
			s.doubles = append(s.doubles, double{key.channel, eventMark(e), old.origin, key.origin, time.Now(), s.caller})
		}
	}
	s.trace("XADD %s #%d", key.channel, e.Sequence)
	id, known := s.ids[e.Sequence]
	if !known {
		id = s.store.streams[key.channel].nextID(s.clock())
	}
	s.store.add(id, key, e, predecessor, to, keep)
}

func (s *server) subscribed(channel string) (n int) {
	now := s.clock()
	for _, c := range s.clients {
		if c.channels[channel] && c.connected(now) {
			n++
		}
	}
	return n
}

// deliver is PUBLISH.
func (s *server) deliver(key markKey, e outbox.Entry, again bool) (heard int) {
	p := publication{at: time.Now(), run: s.run, relay: s.caller, key: key, event: e.MessageID, sequence: e.Sequence,
		size: int64(len(e.Payload)), again: again}
	now := s.clock()
	for i, c := range s.clients {
		if c.channels[key.channel] && c.connected(now) {
			p.heard = append(p.heard, i)
		}
	}
	s.log = append(s.log, p)
	for _, i := range p.heard {
		s.clients[i].drain(now)
		s.clients[i].enqueue(now, len(s.log)-1, p.size+64)
	}
	s.trace("PUBLISH %s #%d heard by %v again=%v", key.channel, e.Sequence, p.heard, again)
	return len(p.heard)
}

// buffers is CLIENT LIST.
func (s *server) buffers() ([]relay.Buffer, error) {
	if s.has("nolist") {
		return nil, errListPerm
	}
	now := s.clock()
	var list []relay.Buffer
	for _, c := range s.clients {
		if c.connected(now) {
			c.drain(now)
			list = append(list, relay.Buffer{Client: c.name, Bytes: c.waiting(now)})
		}
	}
	return list, nil
}

func entryID(n uint64) string { return strconv.FormatUint(n, 10) + "-0" }

func parseEntryID(id string) uint64 {
	n, _ := strconv.ParseUint(id[:len(id)-2], 10, 64)
	return n
}
