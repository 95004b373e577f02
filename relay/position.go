package relay

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"
)

// Position is how far a reader of a stream has come. It is a value to store, as JSON or otherwise: at most some 20 KB, a
// hundred bytes with the usual one origin.
type Position struct {
	// Stream is the key of the stream. The zero Position has none: there is no position yet.
	Stream string `json:"stream"`
	// EntryID is the last entry that was read; "" means to begin with the oldest.
	EntryID string `json:"entry_id,omitempty"`
	// Origin and Sequence are those of that entry, zero if it was not an event: they tell it from one that got the same
	// ID after Redis had forgotten it.
	Origin   string `json:"origin,omitempty"`
	Sequence uint64 `json:"sequence,omitempty"`
	// Handled is the highest sequence that was handled of each origin, the origin that was seen last at the end. Only the
	// last 256 are kept.
	Handled []HandledOrigin `json:"handled,omitempty"`
	// Overtaken means that the last entry had left the stream when the reader went on, and that it has not come to the end since:
	// of an origin that it has not met before it may have missed events.
	Overtaken bool `json:"overtaken,omitempty"`
}

// HandledOrigin says that every event of an outbox file up to a sequence is handled.
type HandledOrigin struct {
	Origin   string `json:"origin"`
	Sequence uint64 `json:"sequence"`
}

// Store is where a Position lives. PositionFile is one; a database that also holds what the events do is a better one.
// A Position belongs to one reader: two that share a store skip each other's events.
type Store interface {
	// Load returns what was saved last, the zero Position if there is none yet.
	Load(ctx context.Context) (Position, error)
	// Save replaces the position as a whole: after a crash either the old or the new one is there. Where the handler has
	// written StreamEvent.Position itself there is nothing left to do, and Save may return nil at once.
	Save(ctx context.Context, p Position) error
}

// maxOrigins bounds a Position. A stream holds some thousand entries, of a few origins: those that are dropped have left it.
const maxOrigins = 256

// after is the position once an entry is read. It shares nothing with p.
func (p Position) after(m redis.XMessage) Position {
	p.EntryID, p.Origin, p.Sequence = m.ID, "", 0
	sequence, err := entrySequence(m)
	if err != nil {
		p.Handled = slices.Clone(p.Handled)
		return p
	}
	p.Origin, p.Sequence = m.Values["origin"].(string), sequence
	seen := HandledOrigin{p.Origin, max(sequence, p.handled(p.Origin))}
	handled := make([]HandledOrigin, 0, len(p.Handled)+1)
	for _, h := range p.Handled {
		if h.Origin != seen.Origin {
			handled = append(handled, h)
		}
	}
	handled = append(handled, seen)
	p.Handled = handled[max(0, len(handled)-maxOrigins):]
	return p
}

// handled is the highest sequence of an origin that was handled, 0 if none was.
func (p Position) handled(origin string) uint64 {
	for _, h := range p.Handled {
		if h.Origin == origin {
			return h.Sequence
		}
	}
	return 0
}

// isAt says whether m is the last entry that was read, and not another one with its ID.
func (p Position) isAt(m redis.XMessage) bool {
	sequence, err := entrySequence(m)
	if err != nil {
		return p.Origin == ""
	}
	return m.Values["origin"] == p.Origin && sequence == p.Sequence
}

// fromStart reads the stream again; what was handled stays known.
func (p Position) fromStart() Position {
	return Position{Stream: p.Stream, Handled: p.Handled, Overtaken: len(p.Handled) > 0}
}

// check refuses a position that cannot be one of the stream.
func (p Position) check(stream string) error {
	if p.Stream != stream {
		return fmt.Errorf("the stored position belongs to the stream %q: give each stream a position of its own", p.Stream)
	}
	if p.EntryID != "" && !entryIDForm.MatchString(p.EntryID) {
		return fmt.Errorf("the stored position is damaged, %q is no entry ID: restore it, or remove it to begin anew", p.EntryID)
	}
	return nil
}
