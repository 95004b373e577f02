package schema

import (
	"encoding/json"
	"fmt"
	"time"
)

// The states of a Status.
const (
	StatusStarted   = "started"
	StatusCompleted = "completed"
	StatusFailed    = "failed"
)

// A Status tells how a processing cycle goes.
type Status struct {
	Source   string         // "" is DefaultSource
	Time     time.Time      // the zero time is now
	State    string         // StatusStarted, StatusCompleted or StatusFailed
	Cycle    uint64         // counts from 1
	Duration time.Duration  // of the cycle so far; sent in whole milliseconds
	Matches  int            // how many were processed
	Errors   []string       // what went wrong, without personal data or credentials
	Details  map[string]any // anything else worth knowing
}

type statusPayload struct {
	State      string                     `json:"status"`
	Timestamp  timestamp                  `json:"timestamp"`
	Cycle      uint64                     `json:"cycle_number"`
	DurationMS int64                      `json:"processing_duration_ms"`
	Matches    int                        `json:"matches_processed"`
	Errors     []string                   `json:"errors"`
	Details    map[string]json.RawMessage `json:"details"`
}

// NewStatus builds a processing_status message. Errors wrap ErrMessage and
// name the field.
func NewStatus(s Status) (Message, error) {
	at, err := clock(s.Time)
	if err != nil {
		return Message{}, err
	}
	switch {
	case s.State != StatusStarted && s.State != StatusCompleted && s.State != StatusFailed:
		return Message{}, fmt.Errorf("%w: status: expected started, completed or failed", ErrMessage)
	case s.Duration < 0:
		return Message{}, fmt.Errorf("%w: processing_duration_ms: expected 0 or more", ErrMessage)
	case s.Matches < 0:
		return Message{}, fmt.Errorf("%w: matches_processed: expected 0 or more", ErrMessage)
	}
	details, err := encodeValues("details", s.Details)
	if err != nil {
		return Message{}, err
	}
	return seal(TypeProcessingStatus, s.Source, at, encode(statusPayload{
		State: s.State, Timestamp: timestamp(at), Cycle: s.Cycle, DurationMS: s.Duration.Milliseconds(),
		Matches: s.Matches, Errors: notNil(s.Errors), Details: details,
	})), nil
}

// Status reads the payload of a processing_status message. The values of
// Details are json.RawMessage.
func (m Message) Status() (Status, error) {
	var p statusPayload
	if err := m.decodePayload(TypeProcessingStatus, &p); err != nil {
		return Status{}, err
	}
	return Status{
		Source: m.Source, Time: m.Timestamp, State: p.State, Cycle: p.Cycle,
		Duration: time.Duration(p.DurationMS) * time.Millisecond,
		Matches:  p.Matches, Errors: p.Errors, Details: decodeValues(p.Details),
	}, nil
}
