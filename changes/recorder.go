package changes

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
)

// Options of a Recorder. The zero value works.
type Options struct {
	Location  *time.Location   // what "the same day" refers to; nil is Europe/Stockholm
	EventsOff bool             // state is recorded, but no event is appended; not later, either
	Source    string           // of the messages; "" is schema.DefaultSource
	Now       func() time.Time // nil is time.Now
	Logger    *slog.Logger     // takes counts and warnings; nil discards them
}

// Metadata goes with one match list.
type Metadata struct {
	AllowEmpty bool           // an empty list means that every match is gone
	FetchedAt  time.Time      // when the list was asked for; zero: it is the newest there is, whatever clocks say
	Extra      map[string]any // the caller's own members of payload.metadata

	turn uint64 // of a cycle
}

// A Recorder keeps the current match list in an outbox file and appends the
// events that follow from its changes. It is safe for concurrent use.
type Recorder struct {
	outbox *outbox.Outbox
	opts   Options
}

// NewRecorder makes a recorder on an open outbox, which stays the caller's to
// close.
func NewRecorder(o *outbox.Outbox, opts Options) (*Recorder, error) {
	if o == nil {
		return nil, fmt.Errorf("new recorder: %w: expected an open outbox", outbox.ErrInvalid)
	}
	if opts.Location == nil {
		opts.Location = stockholm()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Recorder{outbox: o, opts: opts}, nil
}

// Import makes a list that was recorded elsewhere the first state, without an
// event: subscribers know it already, and hear only of what changes from then
// on. A resync tells it to those who do not. It does nothing, and returns
// false, when there is a state already, also an empty one.
func (r *Recorder) Import(ctx context.Context, matches []schema.Match) (imported bool, err error) {
	l := newList(matches)
	err = ahead(ctx, r.outbox, func(tx *bbolt.Tx) func(context.Context) func(*bbolt.Tx) (bool, error) {
		known := tx.Bucket(stateBucket) != nil
		return func(context.Context) func(*bbolt.Tx) (bool, error) {
			if known {
				return failing[bool](nil)
			}
			records := l.records()
			return func(tx *bbolt.Tx) (bool, error) {
				if err := store(tx, records, nil); err != nil {
					return false, err
				}
				return true, markState(tx, nil)
			}
		}
	}, alone(&imported))
	if err != nil {
		return false, fmt.Errorf("import %d matches: %w", len(matches), err)
	}
	return imported, nil
}

// HasState says whether a match list was ever recorded or imported.
func (r *Recorder) HasState(_ context.Context) (has bool, err error) {
	err = r.outbox.View(func(tx *bbolt.Tx) error {
		has = tx.Bucket(stateBucket) != nil
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("look for a stored match list: %w", err)
	}
	return has, nil
}

// State reads the stored match list, like Matches.
func (r *Recorder) State(_ context.Context) ([]schema.Match, error) {
	var stored reader
	err := r.outbox.View(func(tx *bbolt.Tx) error { return stored.read(tx) })
	if err == nil {
		var matches []schema.Match
		if matches, err = stored.matches(); err == nil {
			return matches, nil
		}
	}
	return nil, fmt.Errorf("read the stored match list: %w", err)
}

// Alert appends a system alert.
func (r *Recorder) Alert(ctx context.Context, a schema.Alert) error {
	err := r.outbox.Update(ctx, func(tx *bbolt.Tx) error {
		_, err := r.appendAlert(tx, a)
		return err
	})
	if err != nil {
		return fmt.Errorf("record %s alert: %w", a.Type, err)
	}
	return nil
}

// Event is the outbox event that carries a message. A match update holds the
// whole state, so the newest is kept; an alert may use the outbox's reserve.
func Event(m schema.Message) outbox.Event {
	return outbox.Event{
		Topic:     m.Type,
		MessageID: m.ID,
		Payload:   m.Bytes(),
		Snapshot:  m.Type == schema.TypeMatchUpdates,
		Urgent:    m.Type == schema.TypeSystemAlert,
	}
}

func (r *Recorder) appendStatus(tx *bbolt.Tx, s schema.Status) ([]uint64, error) {
	s.Source, s.Time = r.opts.Source, r.opts.Now()
	m, err := schema.NewStatus(s)
	if err != nil {
		return nil, err
	}
	return r.append(tx, m)
}

func (r *Recorder) appendAlert(tx *bbolt.Tx, a schema.Alert) ([]uint64, error) {
	if a.Source == "" {
		a.Source = r.opts.Source
	}
	if a.Time.IsZero() {
		a.Time = r.opts.Now()
	}
	m, err := schema.NewAlert(a)
	if err != nil {
		return nil, err
	}
	return r.append(tx, m)
}

// Message puts the recorder's source and clock, and an identity, around a
// payload that is taken as it is; see schema.NewMessage.
func (r *Recorder) Message(kind string, payload []byte) (schema.Message, error) {
	return schema.NewMessage(kind, r.opts.Source, r.opts.Now(), payload)
}

// AppendTx appends the event of a message in the caller's own write
// transaction; with Options.EventsOff it appends nothing. Errors: those of
// outbox.Append.
func (r *Recorder) AppendTx(tx *bbolt.Tx, m schema.Message) ([]uint64, error) { return r.append(tx, m) }

// Outbox is the one that the recorder was made on.
func (r *Recorder) Outbox() *outbox.Outbox { return r.outbox }

func (r *Recorder) append(tx *bbolt.Tx, m schema.Message) ([]uint64, error) {
	if r.opts.EventsOff {
		return nil, nil
	}
	return r.outbox.Append(tx, Event(m))
}

func (r *Recorder) log(s Summary) {
	if s.Changed() {
		r.opts.Logger.Info("match list changed", "matches", s.Matches, "new", len(s.New), "updated", len(s.Updated),
			"cancelled", len(s.Cancelled), "removed", len(s.Removed), "changes", len(s.Changes), "sequences", s.Sequences)
	}
}
