package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
)

// Change is one change of a match, as the log tells it.
type Change struct {
	Sequence uint64          `json:"sequence"`
	Time     time.Time       `json:"time"`
	MatchID  string          `json:"match_id"`
	Category string          `json:"category"`
	Priority string          `json:"priority"`
	Field    string          `json:"field"`
	From     json.RawMessage `json:"from"`
	To       json.RawMessage `json:"to"`
	Hidden   bool            `json:"hidden"` // from and to are left out: they may hold personal data
}

// Matches reads the recorded list, or with a time the one that the log held then (changes.At), in the order of date and
// kick-off. It holds personal data.
func (a *API) Matches(ctx context.Context, at time.Time) (matches []schema.Match, err error) {
	if at.IsZero() {
		matches, err = a.recorder.State(ctx)
	} else {
		var then changes.Snapshot
		then, err = changes.At(ctx, a.recorder.Outbox(), at)
		matches = then.Matches
	}
	if err != nil {
		return nil, err
	}
	outlines := make(map[string]schema.Outline, len(matches))
	for _, m := range matches {
		outlines[m.ID()] = m.Outline()
	}
	slices.SortStableFunc(matches, func(x, y schema.Match) int {
		a, b := outlines[x.ID()], outlines[y.ID()]
		return cmp.Or(cmp.Compare(a.Date, b.Date), cmp.Compare(a.Time, b.Time), cmp.Compare(a.ID, b.ID))
	})
	return matches, nil
}

// Outlines is Matches without personal data.
func (a *API) Outlines(ctx context.Context, at time.Time) ([]schema.Outline, error) {
	matches, err := a.Matches(ctx, at)
	if err != nil {
		return nil, err
	}
	outlines := make([]schema.Outline, len(matches))
	for i, m := range matches {
		outlines[i] = m.Outline()
	}
	return outlines, nil
}

// Match is one of Matches. Errors: outbox.ErrNotFound.
func (a *API) Match(ctx context.Context, id string, at time.Time) (schema.Match, error) {
	matches, err := a.Matches(ctx, at)
	if err != nil {
		return schema.Match{}, err
	}
	i := slices.IndexFunc(matches, func(m schema.Match) bool { return m.ID() == id })
	if i < 0 {
		return schema.Match{}, notFound(id)
	}
	return matches[i], nil
}

func notFound(id string) error {
	return fmt.Errorf("match %.70q: %w; matchrelay matches list shows the ids", id, outbox.ErrNotFound)
}

// Outline is Match without personal data.
func (a *API) Outline(ctx context.Context, id string, at time.Time) (schema.Outline, error) {
	m, err := a.Match(ctx, id, at)
	if err != nil {
		return schema.Outline{}, err
	}
	return m.Outline(), nil
}

// History lists the changes of one match in the log, oldest first. Unless raw is set, values that may be personal data are
// hidden. A match that was imported, or whose changes are older than the log, has none. When some match updates cannot be
// read, the error says so beside what the others tell. Errors: outbox.ErrNotFound.
func (a *API) History(ctx context.Context, id string, raw bool) ([]Change, error) {
	history, unread := changes.History(ctx, a.recorder.Outbox(), id)
	list := []Change{}
	for _, c := range history {
		row := Change{Sequence: c.Sequence, Time: c.Time, MatchID: c.MatchID, Category: string(c.Category),
			Priority: string(c.Priority), Field: c.Field, Hidden: !raw && changes.Personal(c.Field)}
		if !row.Hidden {
			row.From, row.To = c.Previous, c.Current
		}
		list = append(list, row)
	}
	if len(list) == 0 && unread == nil {
		_, unread = a.Match(ctx, id, time.Time{})
	}
	return list, unread
}
