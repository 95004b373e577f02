package schema

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// A MatchUpdate tells subscribers the whole current match list and what
// changed in it. Its has_changes is always true, since subscribers skip an
// update without: one without changes repeats the list for those who lost it.
type MatchUpdate struct {
	Source  string    // "" is DefaultSource
	Time    time.Time // the zero time is now
	Matches []Match   // the full list; each goes out byte for byte
	Changes []DetailedChange

	// Ids of matches; each match is in one of these lists at most.
	New, Updated, Cancelled, Removed []string

	Cycle    uint64         // number of the newest processing cycle, 0 before the first
	Metadata map[string]any // more members of payload.metadata; the standard ones cannot be overridden
}

// HighPriority reports whether any change is critical or high.
func (u MatchUpdate) HighPriority() bool {
	return slices.ContainsFunc(u.Changes, func(c DetailedChange) bool {
		return c.Priority == Critical || c.Priority == High
	})
}

type metadata struct {
	TotalMatches    int             `json:"total_matches"`
	HasChanges      bool            `json:"has_changes"`
	ChangeSummary   changeSummary   `json:"change_summary"`
	ChangeDetection changeDetection `json:"change_detection"`
	Cycle           uint64          `json:"processing_cycle"`
	Timestamp       timestamp       `json:"processing_timestamp"`
}

// The standard members of payload.metadata.
var standardMetadata = []string{"total_matches", "has_changes", "change_summary", "change_detection", "processing_cycle", "processing_timestamp"}

// A changeSummary counts matches, not changes.
type changeSummary struct {
	New       int `json:"new_matches"`
	Updated   int `json:"updated_matches"`
	Cancelled int `json:"cancelled_matches"`
	Removed   int `json:"removed_matches"`
	Total     int `json:"total_changes"`
}

type changeDetection struct {
	New       []string   `json:"new_match_ids"`
	Updated   []string   `json:"updated_match_ids"`
	Cancelled []string   `json:"cancelled_match_ids"`
	Removed   []string   `json:"removed_match_ids"`
	Types     []Category `json:"change_types"` // in order of first appearance
}

// NewMatchUpdate builds a match_updates message. Errors wrap ErrMessage and
// name the field; they hold no values.
func NewMatchUpdate(u MatchUpdate) (Message, error) {
	at, err := clock(u.Time)
	if err != nil {
		return Message{}, err
	}
	changes, types, err := wireChanges(u.Changes, at)
	if err != nil {
		return Message{}, err
	}
	extra, err := encodeValues("metadata", u.Metadata)
	if err != nil {
		return Message{}, err
	}
	for _, key := range standardMetadata {
		if _, taken := extra[key]; taken {
			return Message{}, fmt.Errorf("%w: metadata.%s is a standard key and cannot be overridden; choose another", ErrMessage, key)
		}
	}
	meta := encode(metadata{
		TotalMatches: len(u.Matches),
		HasChanges:   true,
		ChangeSummary: changeSummary{
			New: len(u.New), Updated: len(u.Updated), Cancelled: len(u.Cancelled), Removed: len(u.Removed),
			Total: len(u.New) + len(u.Updated) + len(u.Cancelled) + len(u.Removed),
		},
		ChangeDetection: changeDetection{
			New: notNil(u.New), Updated: notNil(u.Updated), Cancelled: notNil(u.Cancelled), Removed: notNil(u.Removed), Types: types,
		},
		Cycle:     u.Cycle,
		Timestamp: timestamp(at),
	})
	if len(extra) > 0 {
		meta[len(meta)-1] = ','
		meta = append(meta, encode(extra)[1:]...)
	}
	// The matches are spliced in: any JSON encoder would change their bytes.
	payload := make([][]byte, 0, 2*len(u.Matches)+2)
	payload = append(payload, []byte(`{"matches":[`))
	for i, m := range u.Matches {
		if m.id == "" {
			return Message{}, fmt.Errorf("%w: matches[%d]: not made by ParseMatches", ErrMessage, i)
		}
		if i > 0 {
			payload = append(payload, []byte(","))
		}
		payload = append(payload, m.raw)
	}
	payload = append(payload, fmt.Appendf(nil, `],"schema_version":%q,"detailed_changes":%s,"high_priority":%t,"metadata":%s}`,
		SchemaVersion, encode(changes), u.HighPriority(), meta))
	return seal(TypeMatchUpdates, u.Source, at, payload...), nil
}

func wireChanges(changes []DetailedChange, at time.Time) ([]wireChange, []Category, error) {
	wire := make([]wireChange, len(changes))
	types := []Category{}
	for i, c := range changes {
		if field, want := c.wrong(); field != "" {
			return nil, nil, fmt.Errorf("%w: detailed_changes[%d].%s: expected %s", ErrMessage, i, field, want)
		}
		when := at
		if !c.Time.IsZero() {
			var err error
			if when, err = clock(c.Time); err != nil {
				return nil, nil, fmt.Errorf("detailed_changes[%d]: %w", i, err)
			}
		}
		c.Stakeholders = notNil(c.Stakeholders)
		wire[i] = wireChange{c, timestamp(when)}
		if !slices.Contains(types, c.Category) {
			types = append(types, c.Category)
		}
	}
	return wire, types, nil
}

// MatchUpdate reads the payload of a match_updates message. The values of
// Metadata are json.RawMessage.
func (m Message) MatchUpdate() (MatchUpdate, error) { return m.matchUpdate(ParseStored) }

func (m Message) matchUpdate(parse func([]byte) ([]Match, error)) (MatchUpdate, error) {
	var p struct {
		Metadata map[string]json.RawMessage `json:"metadata"`
	}
	if err := m.decodePayload(TypeMatchUpdates, &p); err != nil {
		return MatchUpdate{}, err
	}
	u := MatchUpdate{Source: m.Source, Time: m.Timestamp}
	var meta metadata
	if err := json.Unmarshal(encode(p.Metadata), &meta); err != nil {
		return MatchUpdate{}, fmt.Errorf("%w: the metadata does not fit a %s", ErrMessage, m.Type)
	}
	d := meta.ChangeDetection
	u.New, u.Updated, u.Cancelled, u.Removed, u.Cycle = d.New, d.Updated, d.Cancelled, d.Removed, meta.Cycle
	for name, value := range Members(m.payload) {
		if name != "matches" {
			continue
		}
		var err error
		if u.Matches, err = parse(value); err != nil {
			return MatchUpdate{}, fmt.Errorf("%w: payload.matches: %w", ErrMessage, err)
		}
	}
	var err error
	if u.Changes, err = m.Changes(); err != nil {
		return MatchUpdate{}, err
	}
	for _, key := range standardMetadata {
		delete(p.Metadata, key)
	}
	u.Metadata = decodeValues(p.Metadata)
	return u, nil
}

// Changes reads the detailed changes of a match_updates message, and leaves the
// matches alone, which are nearly all of it.
func (m Message) Changes() ([]DetailedChange, error) {
	if m.Type != TypeMatchUpdates {
		return nil, fmt.Errorf("%w: expected a message of type %s, not %q", ErrMessage, TypeMatchUpdates, m.Type)
	}
	var wire []wireChange
	for name, value := range Members(m.payload) {
		if name == "detailed_changes" && json.Unmarshal(value, &wire) != nil {
			return nil, fmt.Errorf("%w: the payload does not fit a %s", ErrMessage, m.Type)
		}
	}
	var changes []DetailedChange
	for _, c := range wire {
		c.DetailedChange.Time = time.Time(c.Time).UTC()
		changes = append(changes, c.DetailedChange)
	}
	return changes, nil
}

// ChangedMatches returns the ids of the matches whose changes a match_updates
// message tells, sorted: those of its detailed changes and those that
// change_detection lists. The matches are left alone, as Changes does.
func (m Message) ChangedMatches() ([]string, error) {
	changes, err := m.Changes()
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, c := range changes {
		ids = append(ids, c.MatchID)
	}
	for name, value := range Members(m.payload) {
		var meta struct {
			Detection changeDetection `json:"change_detection"`
		}
		if name == "metadata" && json.Unmarshal(value, &meta) != nil {
			return nil, fmt.Errorf("%w: the metadata does not fit a %s", ErrMessage, m.Type)
		}
		ids = slices.Concat(ids, meta.Detection.New, meta.Detection.Updated, meta.Detection.Cancelled, meta.Detection.Removed)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// notNil makes a list that JSON shows as [] rather than null.
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
