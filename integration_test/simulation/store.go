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
	redoUnheard      []uint64
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
		streams[channel] = st.clone()
	}
	return store{maps.Clone(s.marks), streams}
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
