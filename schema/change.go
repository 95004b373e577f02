package schema

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// A Category says what kind of thing changed in a match.
type Category string

// The categories of a change.
const (
	NewAssignment     Category = "new_assignment"
	RefereeChange     Category = "referee_change"
	TimeChange        Category = "time_change"
	DateChange        Category = "date_change"
	VenueChange       Category = "venue_change"
	TeamChange        Category = "team_change"
	Cancellation      Category = "cancellation"
	Postponement      Category = "postponement"
	Interruption      Category = "interruption"
	StatusChange      Category = "status_change"
	CompetitionChange Category = "competition_change"
	MatchRemoved      Category = "match_removed"
	ContactChange     Category = "contact_change"
	UnknownChange     Category = "unknown"
)

// A Priority says how soon people should hear of a change.
type Priority string

// The priorities of a change.
const (
	Low      Priority = "low"
	Medium   Priority = "medium"
	High     Priority = "high"
	Critical Priority = "critical"
)

// A Stakeholder is a group of people whom a change concerns.
type Stakeholder string

// The stakeholders of a change.
const (
	Referees     Stakeholder = "referees"
	Coordinators Stakeholder = "coordinators"
	Teams        Stakeholder = "teams"
	Everyone     Stakeholder = "all"
)

// A DetailedChange is one change of one match. The values and the description
// may hold personal data: they belong into messages, not into logs.
type DetailedChange struct {
	MatchID      string          `json:"match_id"`
	MatchNr      string          `json:"match_nr"`
	Category     Category        `json:"category"`
	Priority     Priority        `json:"priority"`
	Stakeholders []Stakeholder   `json:"affected_stakeholders"`
	Field        string          `json:"field_name"`
	Previous     json.RawMessage `json:"previous_value"` // nil is null
	Current      json.RawMessage `json:"current_value"`  // nil is null
	Description  string          `json:"change_description"`
	Time         time.Time       `json:"-"` // the zero time is that of the message
}

var (
	categories = []Category{NewAssignment, RefereeChange, TimeChange, DateChange, VenueChange, TeamChange, Cancellation,
		Postponement, Interruption, StatusChange, CompetitionChange, MatchRemoved, ContactChange, UnknownChange}
	priorities   = []Priority{Low, Medium, High, Critical}
	stakeholders = []Stakeholder{Referees, Coordinators, Teams, Everyone}
)

// wrong names the first field that subscribers could not read, and what is
// expected there; both are "" if all is well.
func (c DetailedChange) wrong() (field, want string) {
	switch {
	case c.MatchID == "":
		return "match_id", "a text that is not empty"
	case !slices.Contains(categories, c.Category):
		return "category", fmt.Sprintf("one of %v", categories)
	case !slices.Contains(priorities, c.Priority):
		return "priority", fmt.Sprintf("one of %v", priorities)
	case slices.ContainsFunc(c.Stakeholders, func(s Stakeholder) bool { return !slices.Contains(stakeholders, s) }):
		return "affected_stakeholders", fmt.Sprintf("some of %v", stakeholders)
	case c.Previous != nil && checkStored(c.Previous, MaxDepth) != nil:
		return "previous_value", "JSON"
	case c.Current != nil && checkStored(c.Current, MaxDepth) != nil:
		return "current_value", "JSON"
	}
	return "", ""
}

// A wireChange is a DetailedChange as it is written.
type wireChange struct {
	DetailedChange
	Time timestamp `json:"timestamp"`
}
