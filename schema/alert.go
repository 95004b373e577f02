package schema

import (
	"encoding/json"
	"fmt"
	"regexp"
	"time"
)

// AlertProcessingError is the type of alert for a cycle that failed.
const AlertProcessingError = "processing_error"

// The severities of an Alert.
const (
	SeverityInfo     = "info"
	SeverityWarning  = "warning"
	SeverityError    = "error"
	SeverityCritical = "critical"
)

// An Alert tells operators of something that they should look at.
type Alert struct {
	Source   string         // "" is DefaultSource
	Time     time.Time      // the zero time is now
	Type     string         // AlertProcessingError, or another lower_case name
	Severity string         // SeverityInfo to SeverityCritical
	Message  string         // for people; no personal data, no credentials
	Details  map[string]any // anything else worth knowing
}

type alertPayload struct {
	Type      string                     `json:"alert_type"`
	Severity  string                     `json:"severity"`
	Message   string                     `json:"message"`
	Timestamp timestamp                  `json:"timestamp"`
	Details   map[string]json.RawMessage `json:"details"`
}

var alertType = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// NewAlert builds a system_alert message. Errors wrap ErrMessage and name the
// field.
func NewAlert(a Alert) (Message, error) {
	at, err := clock(a.Time)
	if err != nil {
		return Message{}, err
	}
	switch {
	case !alertType.MatchString(a.Type):
		return Message{}, fmt.Errorf("%w: alert_type: expected a lower-case name such as %s", ErrMessage, AlertProcessingError)
	case a.Severity != SeverityInfo && a.Severity != SeverityWarning && a.Severity != SeverityError && a.Severity != SeverityCritical:
		return Message{}, fmt.Errorf("%w: severity: expected info, warning, error or critical", ErrMessage)
	case a.Message == "":
		return Message{}, fmt.Errorf("%w: message: expected a text that is not empty", ErrMessage)
	}
	details, err := encodeValues("details", a.Details)
	if err != nil {
		return Message{}, err
	}
	return seal(TypeSystemAlert, a.Source, at, encode(alertPayload{
		Type: a.Type, Severity: a.Severity, Message: a.Message, Timestamp: timestamp(at), Details: details,
	})), nil
}

// Alert reads the payload of a system_alert message. The values of Details are
// json.RawMessage.
func (m Message) Alert() (Alert, error) {
	var p alertPayload
	if err := m.decodePayload(TypeSystemAlert, &p); err != nil {
		return Alert{}, err
	}
	return Alert{
		Source: m.Source, Time: m.Timestamp, Type: p.Type, Severity: p.Severity,
		Message: p.Message, Details: decodeValues(p.Details),
	}, nil
}
