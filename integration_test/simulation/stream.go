package simulation

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// stream is one of Redis. Entries are never changed in place, so that a copy shares them.
type stream struct {
	entries []streamEntry
	nodes   []node
	last    uint64 // the number of the latest entry that was ever added
	lastID  streamID
	groups  map[string]group
}

// group is a consumer group: the number of the latest entry that it was given, and of those that it has not acknowledged.
type group struct {
	delivered uint64
	pending   []uint64
}

// streamEntry is an entry of a stream, without its payload.
type streamEntry struct {
	id          uint64 // for the model entries are simply numbered
	origin      string
	event       outbox.Mark
	predecessor uint64
}

// streamID is what Redis names an entry by: milliseconds, and a number among those of the same one.
type streamID struct{ ms, seq int64 }

// node is a part of a stream that Redis keeps in one piece, a listpack: it trims (MAXLEN ~) only whole ones.
type node struct {
	entries int
	bytes   int
	first   streamID
}

// Redis begins another node at so many entries, or where so many bytes would be reached (stream-node-max-*).
const (
	nodeEntries = 100
	nodeBytes   = 4096
)

func (st stream) clone() stream {
	st.entries, st.nodes, st.groups = slices.Clip(st.entries), slices.Clone(st.nodes), maps.Clone(st.groups)
	return st
}

// room is that of entry.lua: it trims what all groups have read, and returns how many entries adding is to leave.
func (s store) room(channel string, to *relay.Stream) int {
	st := s.streams[channel]
	if len(st.groups) == 0 {
		return to.MaxLen
	}
	needed := uint64(math.MaxUint64)
	for _, g := range st.groups {
		needed = min(needed, g.delivered)
		if len(g.pending) > 0 {
			needed = min(needed, slices.Min(g.pending))
		}
	}
	limit, removed := len(st.entries)-to.MaxLen, 0
	for limit > 0 && len(st.nodes) > 0 {
		n := st.nodes[0].entries
		if removed+n > limit || st.entries[n-1].id >= needed {
			break
		}
		st.entries, st.nodes, removed = st.entries[n:], st.nodes[1:], removed+n
	}
	s.streams[channel] = st
	return to.MaxUnread
}

// nextID is that of an entry which is added without one.
func (st stream) nextID(now time.Time) streamID {
	if ms := now.UnixMilli(); ms > st.lastID.ms {
		return streamID{ms: ms}
	}
	return streamID{st.lastID.ms, st.lastID.seq + 1}
}

// add is XADD with MAXLEN ~ keep, of what entry.lua adds.
func (s store) add(id streamID, key markKey, e outbox.Entry, predecessor uint64, to *relay.Stream, keep int) {
	st := s.streams[key.channel]
	st.last, st.lastID = st.last+1, id
	st.entries = append(st.entries, streamEntry{st.last, key.origin, eventMark(e), predecessor})
	fields, values := fieldsOf(key, e, predecessor, to)
	raw := len(e.Payload)
	for i := range fields {
		raw += len(fields[i]) + len(values[i])
	}
	n := len(st.nodes) - 1
	if n < 0 || st.nodes[n].bytes+raw >= nodeBytes || st.nodes[n].entries >= nodeEntries {
		st.nodes = append(st.nodes, node{bytes: headBytes(fields), first: id})
		n++
	}
	last := &st.nodes[n]
	last.entries++
	last.bytes += entryBytes(id, last.first, values) + payloadBytes(e.Payload)
	for len(st.nodes) > 1 && len(st.entries)-st.nodes[0].entries >= keep {
		st.entries, st.nodes = st.entries[st.nodes[0].entries:], st.nodes[1:]
	}
	s.streams[key.channel] = st
}

// fieldsOf are the names and values of an entry, but for the value of the last one, the payload: see entry.lua.
func fieldsOf(key markKey, e outbox.Entry, predecessor uint64, to *relay.Stream) (fields, values []string) {
	fields = []string{"specversion", "id", "source", "type", "time", "subject"}
	values = []string{"1.0", e.MessageID, to.Source, to.Topic, e.AppendedAt.Format(time.RFC3339Nano), key.channel}
	if to.Schema != "" {
		fields, values = append(fields, "dataschema"), append(values, to.Schema)
	}
	return append(fields, "sequence", "predecessor", "origin", "data"),
		append(values, strconv.FormatUint(e.Sequence, 10), strconv.FormatUint(predecessor, 10), key.origin, "")
}

// headBytes is what a node has before its entries: the listpack's header and end, and the master entry, which names the fields.
func headBytes(fields []string) int {
	bytes := 6 + 1 + 4*intBytes(0) // how many entries, how many were deleted, how many fields; and a zero at the end
	for _, name := range fields {
		bytes += textBytes(name)
	}
	return bytes
}

// entryBytes is what an entry takes whose fields are those of the master entry: flags, how far its ID is from the first one,
// values, and of how many parts it is.
func entryBytes(id, first streamID, values []string) int {
	bytes := 2*intBytes(0) + intBytes(id.ms-first.ms) + intBytes(id.seq-first.seq)
	for _, value := range values[:len(values)-1] {
		bytes += textBytes(value)
	}
	return bytes
}

// intBytes is what a listpack needs for a number, textBytes for a text: with its length behind it, from which it is read
// backwards.
func intBytes(n int64) int {
	switch {
	case n >= 0 && n < 1<<7:
		return 2
	case n >= -1<<12 && n < 1<<12:
		return 3
	case n >= -1<<15 && n < 1<<15:
		return 4
	case n >= -1<<23 && n < 1<<23:
		return 5
	case n >= -1<<31 && n < 1<<31:
		return 6
	}
	return 10
}

func textBytes(text string) int {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(n, 10) == text {
		return intBytes(n)
	}
	return lengthBytes(len(text))
}

func payloadBytes(payload []byte) int {
	if len(payload) <= len("-9223372036854775808") { // it may be a number
		return textBytes(string(payload))
	}
	return lengthBytes(len(payload))
}

// lengthBytes is what a text of a length needs.
func lengthBytes(bytes int) int {
	switch {
	case bytes < 1<<6:
		bytes++
	case bytes < 1<<12:
		bytes += 2
	default:
		bytes += 5
	}
	switch {
	case bytes < 1<<7:
		return bytes + 1
	case bytes < 1<<14-1:
		return bytes + 2
	case bytes < 1<<21-1:
		return bytes + 3
	}
	return bytes + 4
}
