package simulation

import (
	"maps"
	"slices"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
)

// markKey names a high-water mark.
type markKey struct{ channel, origin string }

// mark is the hash of a high-water mark. The zero value is one that is not there.
type mark struct {
	published, added outbox.Mark
	unheard          []uint64
	redoRun          string
	redoSeq          uint64
}

// streamEntry is an entry of a stream, without its payload.
type streamEntry struct {
	id     uint64 // of the entry: Redis numbers them
	origin string
	event  outbox.Mark
}

// stream is nil when there is none. Entries are never changed in place, so that a copy shares them.
type stream struct {
	entries []streamEntry
	last    uint64 // the ID of the latest entry that was ever added
}

// store is what a Redis process keeps, and may persist.
type store struct {
	marks   map[markKey]mark
	streams map[string]stream // by channel
}

func newStore() store { return store{marks: map[markKey]mark{}, streams: map[string]stream{}} }

func (s store) clone() store {
	streams := make(map[string]stream, len(s.streams))
	for channel, st := range s.streams {
		streams[channel] = stream{slices.Clip(st.entries), st.last}
	}
	return store{maps.Clone(s.marks), streams}
}

// add adds an entry and trims the stream. Redis trims whole nodes of a hundred entries or so; the model does so at once.
func (s store) add(channel, origin string, event outbox.Mark, keep int) {
	st := s.streams[channel]
	st.last++
	st.entries = append(st.entries, streamEntry{st.last, origin, event})
	if extra := len(st.entries) - keep; extra > 0 {
		st.entries = st.entries[extra:]
	}
	s.streams[channel] = st
}

// exists says whether the channel has a stream.
func (s store) exists(channel string) bool {
	_, ok := s.streams[channel]
	return ok
}

// version is the store as it was after a write.
type version struct {
	at    time.Time
	store store
}

// history is the versions of a store, the latest last, as far back as anything may be restored from.
type history []version

const historyFor = 3 * time.Minute

// keep takes a copy after a write.
func (h *history) keep(now time.Time, s store) {
	*h = append(*h, version{now, s.clone()})
	old := 0
	for old < len(*h)-1 && now.Sub((*h)[old+1].at) > historyFor {
		old++
	}
	*h = (*h)[old:]
}

// at is the store as it was at a time.
func (h history) at(t time.Time) store {
	for _, v := range slices.Backward(h) {
		if !v.at.After(t) {
			return v.store.clone()
		}
	}
	return newStore()
}
