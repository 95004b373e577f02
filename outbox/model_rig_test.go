package outbox

import (
	"cmp"
	"slices"
	"time"
)

// modelEvent is an event as the model knows it.
type modelEvent struct {
	sequence, replayOf uint64
	topic, id, key     string
	snapshot           bool
	state              State
	appended           time.Time
}

// first is the sequence under which it was appended first.
func (e modelEvent) first() uint64 { return cmp.Or(e.replayOf, e.sequence) }

// model is an outbox without a file: what every operation should lead to, written down as plainly as can be.
type model struct {
	last     uint64
	events   []modelEvent      // in the log, by sequence
	newest   map[string]uint64 // snapshot that is kept
	shown    map[string]uint64 // the newest that was delivered and is pruned, by its first sequence
	tail     map[string]uint64
	closed   map[string][]uint64 // counters: delivered, replayed, discarded
	epoch    uint64
	state    []string // the processor's own keys
	audits   int
	appended map[string]uint64
}

func newModel() *model {
	return &model{epoch: 1, newest: map[string]uint64{}, shown: map[string]uint64{}, tail: map[string]uint64{},
		closed: map[string][]uint64{}, appended: map[string]uint64{}}
}

func (m *model) counts(topic string) []uint64 {
	if m.closed[topic] == nil {
		m.closed[topic] = make([]uint64, 3)
	}
	return m.closed[topic]
}

func (m *model) append(e Event, replayOf uint64, now time.Time) uint64 {
	if e.Key != "" {
		for _, old := range m.events {
			if old.key == e.Key {
				return old.sequence
			}
		}
	}
	m.last++
	m.appended[e.Topic]++
	m.events = append(m.events, modelEvent{sequence: m.last, replayOf: replayOf, topic: e.Topic, id: e.MessageID, key: e.Key,
		snapshot: e.Snapshot, state: Pending, appended: now})
	if e.Snapshot && replayOf == 0 {
		m.newest[e.Topic] = m.last
	}
	return m.last
}

func (m *model) settle(topic string, through uint64, unheard map[uint64]bool) {
	for i, e := range m.events {
		if e.topic == topic && e.state == Pending && e.sequence <= through {
			m.events[i].state = Delivered
			m.counts(topic)[0]++
		}
		if e := m.events[i]; e.topic == topic && e.state == Delivered && e.sequence <= through && unheard[e.sequence] {
			m.events[i].state = Unheard
		}
	}
}

func (m *model) firstPending(topic string) int {
	return slices.IndexFunc(m.events, func(e modelEvent) bool { return e.topic == topic && e.state == Pending })
}

func (m *model) replay(i int, now time.Time) (as uint64, ok bool) {
	e := m.events[i]
	if e.state != Parked && e.state != Unheard {
		return 0, false
	}
	if e.snapshot && m.shown[e.topic] > e.first() {
		return 0, false // superseded by one that is in the file no more
	}
	for _, other := range m.events {
		if e.snapshot && other.topic == e.topic && other.snapshot && (other.state == Pending || other.state == Delivered) &&
			other.first() > e.first() {
			return 0, false // superseded
		}
	}
	if e.state == Parked {
		m.events[i].state = Replayed
		m.counts(e.topic)[1]++
	} else {
		m.events[i].state = Delivered
	}
	as = m.append(Event{Topic: e.topic, MessageID: e.id, Snapshot: e.snapshot}, e.first(), now)
	if m.newest[e.topic] == e.sequence {
		m.newest[e.topic] = as
	}
	return as, true
}

func (m *model) discard(i int) (ok bool) {
	e := m.events[i]
	if e.state != Parked && e.state != Pending {
		return false
	}
	m.events[i].state = Discarded
	m.counts(e.topic)[2]++
	return true
}

func (m *model) prune(before time.Time) (n int) {
	waits := map[string]bool{} // topics with a pending event among those before
	m.events = slices.DeleteFunc(m.events, func(e modelEvent) bool {
		waits[e.topic] = waits[e.topic] || e.state == Pending
		due := !waits[e.topic] && e.state != Pending && e.state != Parked && e.sequence != m.newest[e.topic] &&
			(m.tail[e.topic] == 0 || e.sequence < m.tail[e.topic]) && e.appended.Before(before)
		if due {
			n++
		}
		if due && e.snapshot && e.state == Delivered {
			m.shown[e.topic] = max(m.shown[e.topic], e.first())
		}
		return due
	})
	return n
}
