package simulation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// entry is an event at its place in the file: a replay has the message ID of the event that it repeats.
type entry struct {
	id       string
	sequence uint64
}

// lineage is what is in the file: an older copy of the file has an older one.
type lineage struct {
	updates   int                 // transactions of the processor
	events    []appended          // by the processor and by operators; the relay's alerts are only in the file
	discarded map[uint64]string   // message IDs, by sequence
	replayed  map[uint64]bool     // sequences that were appended again
	silenced  map[entry]time.Time // what was discarded while certainly nothing was in flight
}

func (l lineage) clone() lineage {
	return lineage{l.updates, slices.Clip(l.events), maps.Clone(l.discarded), maps.Clone(l.replayed), maps.Clone(l.silenced)}
}

// appended is an event whose transaction has committed.
type appended struct {
	sequence uint64
	id       string
	topic    string
	at       time.Time
	replayOf uint64
	poison   bool
	snapshot bool
}

// facts are what a run is judged by.
type facts struct {
	made       int // events that were made
	alerted    map[string]int
	amnesias   map[string]int       // by topic, as the last relay counts them
	reportedAt map[string]time.Time // when a kind of alert was raised last
	poison     map[string]bool      // message IDs of events that Redis does not take
	refused    map[string]bool      // message IDs of events whose append failed
	faulty     []*faultTime         // what was wrong with Redis, and when
	givenUp    map[string]bool      // message IDs that were ever discarded, in an older copy or not
	gaveUpAt   map[entry]time.Time
	rolledBack []rollback
	pausedAt   time.Time
	downAt     time.Time
	trouble    map[string]time.Time // when something last stood in a topic's way
	published  map[string]bool      // message IDs, as far as the log was looked through
	lookedThru int
	tells      []tell
	looks      []look
	loads      map[load]loaded
}

// faultTime is how long Redis had a fault.
type faultTime struct {
	name     string
	from, to time.Time // to is zero while it lasts
}

// rollback is when an older copy was put in the place of the file, and when that copy was taken.
type rollback struct {
	taken, at time.Time
	ahead     markKey // a mark of something that the copy does not know, if there is any
}

// tell is an answer of Redis that reached a relay.
type tell struct {
	asked, told time.Time
	relay       int
	run         string
	insisted    bool // the relay had asked this very run, after it had got ready for it
	channel     string
	origin      string
	agreed      bool   // Redis had the mark that the relay named
	mark        uint64 // the sequence of the mark that Redis answered with
	receivers   int
}

// load is a relay's first look at where a topic stands in the file, and loaded what it found.
type load struct {
	relay int
	topic string
}

type loaded struct {
	at               time.Time
	cursor, tailFrom uint64
}

// look is a CLIENT LIST that reached a relay.
type look struct {
	at    time.Time // when the relay had asked
	relay int
	topic string // whose lane asked
	bytes int64
}

func (w *world) initFacts() {
	w.givenUp, w.refused, w.gaveUpAt = map[string]bool{}, map[string]bool{}, map[entry]time.Time{}
	w.discarded, w.replayed = map[uint64]string{}, map[uint64]bool{}
	w.alerted, w.poison, w.published, w.loads = map[string]int{}, map[string]bool{}, map[string]bool{}, map[load]loaded{}
	w.reportedAt, w.amnesias = map[string]time.Time{}, map[string]int{}
	w.silenced, w.trouble = map[entry]time.Time{}, map[string]time.Time{}
	w.note()
}

// violate takes note of a promise that is not kept. The first one is what counts: what follows may follow from it.
func (w *world) violate(format string, args ...any) {
	text := fmt.Sprintf("%v: %s", time.Since(w.began), fmt.Sprintf(format, args...))
	w.trace("VIOLATION %s", text)
	w.telling.Lock()
	defer w.telling.Unlock()
	if len(w.violations) < 10 {
		w.violations = append(w.violations, text)
	}
}

// sound says whether every promise was kept so far.
func (w *world) sound() bool {
	w.telling.Lock()
	defer w.telling.Unlock()
	return len(w.violations) == 0
}

// record takes note of an event that is in the file.
func (w *world) record(e outbox.Event, sequence, replayOf uint64, poison bool) {
	w.events = append(w.events, appended{sequence, e.MessageID, e.Topic, time.Now(), replayOf, poison, e.Snapshot})
	if poison {
		w.poison[e.MessageID] = true
	}
	if replayOf != 0 {
		w.replayed[replayOf] = true
	}
}

// giveUp takes note of an event that was discarded.
func (w *world) giveUp(sequence uint64, id string) {
	if e := (entry{id, sequence}); w.gaveUpAt[e].IsZero() {
		w.gaveUpAt[e] = time.Now()
	}
	w.discarded[sequence], w.givenUp[id] = id, true
}

// poisoned says whether Redis closes the connection because of an event.
func (w *world) poisoned(b relay.Batch) bool {
	return slices.ContainsFunc(b.Events, func(e outbox.Entry) bool { return w.poison[e.MessageID] })
}

// told takes note of answers that reached a relay.
func (w *world) told(d *drain, asked time.Time, batches []relay.Batch, replies []relay.Reply) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, reply := range replies {
		b := batches[i]
		w.tells = append(w.tells, tell{asked, time.Now(), d.number, reply.Run, b.Run != "" && b.Run == reply.Run,
			b.Channel, b.Origin, reply.Outcome == relay.OK, reply.Mark.Sequence, reply.Receivers})
	}
}

// hasLoaded takes note of where a relay found that a topic stands.
func (w *world) hasLoaded(d *drain, topic string, p outbox.Position) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l := (load{d.number, topic}); w.loads[l].at.IsZero() {
		w.loads[l] = loaded{time.Now(), p.Cursor, p.Progress.TailFrom}
	}
}

// fault gives Redis a fault, and takes it away.
func (w *world) fault(name string) {
	w.server.faults[name] = true
	w.faulty = append(w.faulty, &faultTime{name: name, from: time.Now()})
}

func (w *world) noFault(name string) {
	delete(w.server.faults, name)
	for _, f := range w.faulty {
		if f.name == name && f.to.IsZero() {
			f.to = time.Now()
		}
	}
}

func (w *world) noFaults() {
	for name := range w.server.faults {
		w.noFault(name)
	}
}

// wasFaulty says whether Redis had a fault at any time between two.
func (w *world) wasFaulty(name string, from, to time.Time) bool {
	return slices.ContainsFunc(w.faulty, func(f *faultTime) bool {
		return f.name == name && !f.from.After(to) && (f.to.IsZero() || !f.to.Before(from))
	})
}

// setBack says whether an older copy was put in the place of the file between two times.
func (w *world) setBack(from, to time.Time) bool {
	return slices.ContainsFunc(w.rolledBack, func(r rollback) bool { return !r.at.Before(from) && !r.at.After(to) })
}

// unmade says whether the file was replaced after a time by a copy from before it, which does not know what happened then.
func (w *world) unmade(at time.Time) bool {
	const margin = time.Minute // what was known of it in memory only
	return slices.ContainsFunc(w.rolledBack, func(r rollback) bool { return r.at.After(at) && !r.taken.After(at.Add(margin)) })
}

// looked takes note of what a relay knows of output buffers.
func (w *world) looked(d *drain, topic string, asked time.Time, list []relay.Buffer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := look{at: asked, relay: d.number, topic: topic}
	for _, b := range list {
		l.bytes = max(l.bytes, b.Bytes)
	}
	w.looks = append(w.looks, l)
}

func (w *world) lookThrough() {
	for _, p := range w.server.log[w.lookedThru:] {
		w.published[p.event] = true
	}
	w.lookedThru = len(w.server.log)
}

// checkFull finds out whether the outbox might have made room for events, when it has said that it cannot: all but what is
// pending, parked, or might have to be published again, and the newest snapshot, can be pruned. What is kept of an event is
// its payload, compressed, and a header.
func (w *world) checkFull(batch []outbox.Event) {
	const header = 400
	if err := w.process.box.Flush(context.Background()); err != nil {
		if !w.isDiskFull(err) { // else it is not to be seen where the tails begin
			w.violate("flush: %v", err)
		}
		return
	}
	list, err := w.process.box.List(context.Background(), outbox.Filter{})
	if err != nil {
		w.violate("list: %v", err)
		return
	}
	needed := 0
	for _, e := range batch {
		needed += len(e.Payload) + header
	}
	newest := w.newestSnapshot()
	for _, info := range list {
		p, err := w.process.box.Position(context.Background(), info.Topic)
		if err != nil {
			w.violate("position: %v", err)
			return
		}
		tail := p.Progress.TailFrom != 0 && info.Sequence >= p.Progress.TailFrom || info.Sequence > p.Cursor
		if info.State == outbox.Pending || info.State == outbox.Parked || info.Sequence == newest || tail {
			needed += info.Bytes + header
		}
	}
	if room := w.schedule.Settings.number("maxbytes") / 2; needed <= room { // the other half is kept for alerts
		w.violate("bounded: it is said to be full, and all that cannot be pruned takes %d of %d bytes", needed, room)
	}
}

// newestSnapshot is the one that is kept: as it was appended last, when it was replayed.
func (w *world) newestSnapshot() uint64 {
	var first, newest uint64
	for _, e := range w.events {
		switch {
		case e.snapshot && e.replayOf == 0:
			first, newest = e.sequence, e.sequence
		case e.snapshot && e.replayOf == first:
			newest = e.sequence
		}
	}
	return newest
}
