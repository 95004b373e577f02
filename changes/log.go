package changes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
)

// A Snapshot is the match list as one match update in the log holds it.
type Snapshot struct {
	Sequence uint64
	Time     time.Time // when it was recorded
	Matches  []schema.Match
}

// A PastChange is one change of a match as the log holds it. Previous, Current
// and Description may hold personal data.
type PastChange struct {
	Sequence uint64 // of the match update that told it first
	schema.DetailedChange
}

// At rebuilds the match list of a moment from the log: the list of the newest
// match update that was recorded then or before. Errors: outbox.ErrNotFound
// when the log does not go back that far, and schema.ErrMessage for an event
// that is no match update.
func At(ctx context.Context, o *outbox.Outbox, at time.Time) (Snapshot, error) {
	log, err := updates(ctx, o)
	if err != nil {
		return Snapshot{}, err
	}
	position, err := o.Position(ctx, schema.TypeMatchUpdates)
	if err != nil {
		return Snapshot{}, err
	}
	var oldest time.Time
	for i, u := range slices.Backward(log) {
		// Parked updates outlive those after them: what came before a gap is no answer, but nothing came after the last.
		if u.first < position.PrunedTo && i < len(log)-1 {
			break
		}
		if oldest, err = u.recorded(ctx, o); err != nil {
			return Snapshot{}, err
		}
		if oldest.After(at) {
			continue
		}
		update, err := u.read(ctx, o)
		if err != nil {
			return Snapshot{}, err
		}
		return Snapshot{Sequence: u.first, Time: oldest, Matches: update.Matches}, nil
	}
	const layout = "2006-01-02T15:04:05.000Z07:00"
	if oldest.IsZero() {
		return Snapshot{}, fmt.Errorf("match list at %s: %w: the log holds no match update", at.Format(layout), outbox.ErrNotFound)
	}
	return Snapshot{}, fmt.Errorf("match list at %s: %w: the oldest list in the log is of %s", at.Format(layout),
		outbox.ErrNotFound, oldest.In(at.Location()).Format(layout))
}

// History lists the changes of one match in the match updates that the log
// holds, oldest first, each once. It goes on past events that cannot be read:
// the error then names them, and what could be read is returned beside it.
func History(ctx context.Context, o *outbox.Outbox, id string) ([]PastChange, error) {
	log, err := updates(ctx, o)
	if err != nil {
		return nil, err
	}
	var history []PastChange
	var failed []error
	for _, u := range log {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		told, err := u.changes(ctx, o)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		for _, c := range told {
			if c.MatchID == id {
				history = append(history, PastChange{u.first, c})
			}
		}
	}
	return history, errors.Join(failed...)
}

// A loggedUpdate is a match update in the log.
type loggedUpdate struct {
	outbox.Info
	first uint64 // the sequence that it was appended under first
}

// updates lists the match updates in the log in the order in which they were
// recorded. A replay stands for its original only when that is gone.
func updates(ctx context.Context, o *outbox.Outbox) ([]loggedUpdate, error) {
	list, err := o.List(ctx, outbox.Filter{Topic: schema.TypeMatchUpdates})
	if err != nil {
		return nil, err
	}
	byFirst := map[uint64]loggedUpdate{}
	for _, info := range list {
		first := cmp.Or(info.ReplayOf, info.Sequence)
		if _, known := byFirst[first]; !known {
			byFirst[first] = loggedUpdate{info, first}
		}
	}
	return slices.SortedFunc(maps.Values(byFirst), func(a, b loggedUpdate) int { return cmp.Compare(a.first, b.first) }), nil
}

// recorded is the time at which the update was appended first. Of one whose
// original is gone only the message tells.
func (u loggedUpdate) recorded(ctx context.Context, o *outbox.Outbox) (time.Time, error) {
	if u.ReplayOf == 0 {
		return u.AppendedAt, nil
	}
	update, err := u.read(ctx, o)
	return update.Time, err
}

func (u loggedUpdate) read(ctx context.Context, o *outbox.Outbox) (schema.MatchUpdate, error) {
	m, err := u.message(ctx, o)
	if err != nil {
		return schema.MatchUpdate{}, err
	}
	update, err := m.MatchUpdate()
	return update, u.named(err)
}

func (u loggedUpdate) changes(ctx context.Context, o *outbox.Outbox) ([]schema.DetailedChange, error) {
	m, err := u.message(ctx, o)
	if err != nil {
		return nil, err
	}
	list, err := m.Changes()
	return list, u.named(err)
}

func (u loggedUpdate) message(ctx context.Context, o *outbox.Outbox) (schema.Message, error) {
	entry, _, err := o.Get(ctx, u.Sequence)
	if err != nil {
		return schema.Message{}, err
	}
	if entry.Err != nil {
		return schema.Message{}, u.named(entry.Err)
	}
	m, err := schema.Decode(entry.Payload)
	return m, u.named(err)
}

// named says which event an error is about.
func (u loggedUpdate) named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("match_updates #%d: %w", u.Sequence, err)
}
