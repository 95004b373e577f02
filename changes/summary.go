package changes

import (
	"encoding/json"

	"github.com/PitchConnect/matchrelay/schema"
)

// A Summary says what changed from one match list to the next. Each match is
// in one of New, Updated, Cancelled and Removed at most; the first three are in
// the order of the list, Removed is sorted.
type Summary struct {
	Matches   int      // in the newer list
	New       []string // ids of matches
	Updated   []string
	Cancelled []string // installd turned true; other changes of such a match do not make it updated too
	Removed   []string
	Changes   []schema.DetailedChange // holds personal data: never log it

	Cycle     uint64   // number of the newest processing cycle, 0 before the first
	Sequences []uint64 // of the events that were appended to the outbox
}

// Changed reports whether anything changed.
func (s Summary) Changed() bool { return len(s.Changes) > 0 }

// HighPriority reports whether any change is critical or high.
func (s Summary) HighPriority() bool {
	return schema.MatchUpdate{Changes: s.Changes}.HighPriority()
}

// Counts are what a Summary says without its contents: nothing in them is
// personal.
type Counts struct {
	Matches      int                     `json:"matches"`
	New          int                     `json:"new"`
	Updated      int                     `json:"updated"`
	Cancelled    int                     `json:"cancelled"`
	Removed      int                     `json:"removed"`
	Changes      int                     `json:"changes"`
	Types        map[schema.Category]int `json:"change_types"`
	HighPriority bool                    `json:"high_priority"`
	Cycle        uint64                  `json:"cycle,omitempty"`
	Sequences    []uint64                `json:"sequences"`
}

// Counts counts.
func (s Summary) Counts() Counts {
	types := map[schema.Category]int{}
	for _, c := range s.Changes {
		types[c.Category]++
	}
	sequences := s.Sequences
	if sequences == nil {
		sequences = []uint64{}
	}
	return Counts{s.Matches, len(s.New), len(s.Updated), len(s.Cancelled), len(s.Removed), len(s.Changes), types, s.HighPriority(), s.Cycle, sequences}
}

// MarshalJSON writes the Counts.
func (s Summary) MarshalJSON() ([]byte, error) { return json.Marshal(s.Counts()) }
