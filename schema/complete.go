package schema

import (
	"bytes"
	"fmt"
	"time"
)

// NewMessage builds a message of the given type around a payload, which goes
// out as it is but for a timestamp, which it gets when it has none. "" as
// source is DefaultSource, the zero time is now. Errors wrap ErrMessage and
// name the field; they hold no values.
func NewMessage(kind, source string, at time.Time, payload []byte) (Message, error) {
	at, err := clock(at)
	if err != nil {
		return Message{}, err
	}
	if err := checkJSON(payload, MaxDepth); err != nil {
		return Message{}, fmt.Errorf("%w: payload: %w", ErrMessage, err)
	}
	payload = bytes.TrimSpace(payload)
	if payload[0] != '{' {
		return Message{}, fmt.Errorf("%w: payload: expected an object", ErrMessage)
	}
	empty, stamped := true, false
	for name := range Members(payload) {
		empty = false
		stamped = stamped || name == "timestamp"
	}
	parts := [][]byte{payload}
	if !stamped {
		comma := ","
		if empty {
			comma = ""
		}
		parts = [][]byte{payload[:len(payload)-1], []byte(comma + `"timestamp":`), encode(timestamp(at)), []byte("}")}
	}
	m := seal(kind, source, at, parts...)
	return m, m.Validate()
}
