package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// The types of message, which are also the topics they are sent under.
const (
	TypeMatchUpdates     = "match_updates"
	TypeProcessingStatus = "processing_status"
	TypeSystemAlert      = "system_alert"
)

const (
	// DefaultSource is the source of a message that names none.
	DefaultSource = "match-list-processor"
	// Version is the version of the envelope.
	Version = "1.0"
	// SchemaVersion is the schema_version of match updates.
	SchemaVersion = "2.0"
)

// A Message is one message as it goes over the wire. The constructors and
// Decode make it; its fields are a view of Bytes.
type Message struct {
	ID        string // message_id: a UUID, from the constructors one of version 7
	Type      string
	Source    string
	Timestamp time.Time // UTC, to the millisecond

	data    []byte
	payload []byte // within data
}

// Bytes is the message's JSON, exactly as it is to be published. It must not
// be changed.
func (m Message) Bytes() []byte { return m.data }

// Decode reads a message of any type: that it is JSON, and its envelope.
// Validate checks the rest. The message aliases data. Errors wrap ErrMessage
// and hold nothing of the payload.
func Decode(data []byte) (Message, error) {
	if err := checkStored(data, messageDepth); err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	m := Message{data: data}
	var at string
	texts := map[string]*string{"message_id": &m.ID, "type": &m.Type, "source": &m.Source, "timestamp": &at}
	for name, value := range Members(data) {
		if name == "payload" {
			m.payload = value
		} else if into := texts[name]; into != nil && value[0] == '"' {
			*into = unquote(value)
		}
	}
	for _, name := range []string{"message_id", "type", "source", "timestamp"} {
		if *texts[name] == "" {
			return Message{}, fmt.Errorf("%w: %s: expected a text that is not empty", ErrMessage, name)
		}
	}
	var err error
	if m.Timestamp, err = time.Parse(time.RFC3339, at); err != nil {
		return Message{}, fmt.Errorf("%w: timestamp: expected a time such as 2025-09-21T10:30:00.000Z", ErrMessage)
	}
	m.Timestamp = m.Timestamp.UTC()
	if len(m.payload) == 0 || m.payload[0] != '{' {
		return Message{}, fmt.Errorf("%w: payload: expected an object", ErrMessage)
	}
	return m, nil
}

// decodePayload reads the payload of a message of the given type.
func (m Message) decodePayload(want string, into any) error {
	if m.Type != want {
		return fmt.Errorf("%w: expected a message of type %s, not %q", ErrMessage, want, m.Type)
	}
	if err := json.Unmarshal(m.payload, into); err != nil {
		// The error of encoding/json may quote the payload; Validate tells where.
		return fmt.Errorf("%w: the payload does not fit a %s", ErrMessage, want)
	}
	return nil
}

// seal puts the envelope around a payload given in parts.
func seal(kind, source string, at time.Time, payload ...[]byte) Message {
	if source == "" {
		source = DefaultSource
	}
	m := Message{ID: uuid.Must(uuid.NewV7()).String(), Type: kind, Source: source, Timestamp: at}
	head := struct {
		MessageID     string    `json:"message_id"`
		Timestamp     timestamp `json:"timestamp"`
		Source        string    `json:"source"`
		Version       string    `json:"version"`
		Type          string    `json:"type"`
		SchemaVersion string    `json:"schema_version,omitempty"`
	}{MessageID: m.ID, Timestamp: timestamp(at), Source: source, Version: Version, Type: kind}
	if kind == TypeMatchUpdates {
		head.SchemaVersion = SchemaVersion
	}
	envelope := bytes.TrimSuffix(encode(head), []byte("}"))
	envelope = append(envelope, `,"payload":`...)
	size := len(envelope) + 1
	for _, part := range payload {
		size += len(part)
	}
	m.data = append(make([]byte, 0, size), envelope...)
	for _, part := range payload {
		m.data = append(m.data, part...)
	}
	m.payload = m.data[len(envelope):]
	m.data = append(m.data, '}')
	return m
}

// encode is json.Marshal that leaves <, > and & as they are. It is for values
// that cannot fail: whatever a caller gave has been through encodeValues.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// encodeValues encodes the values that a caller put into the named object.
func encodeValues(object string, values map[string]any) (map[string]json.RawMessage, error) {
	encoded := make(map[string]json.RawMessage, len(values))
	for key, value := range values {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		err := e.Encode(value)
		if err == nil {
			err = checkJSON(b.Bytes(), MaxDepth)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s.%s: a %T that cannot be encoded as JSON", ErrMessage, object, key, value)
		}
		encoded[key] = b.Bytes()
	}
	return encoded, nil
}

// decodeValues is the reverse of encodeValues: each value stays JSON.
func decodeValues(encoded map[string]json.RawMessage) map[string]any {
	values := make(map[string]any, len(encoded))
	for key, value := range encoded {
		values[key] = value
	}
	return values
}

// A timestamp is a time on the wire: UTC, with milliseconds and Z.
type timestamp time.Time

func (t timestamp) MarshalJSON() ([]byte, error) {
	return time.Time(t).UTC().AppendFormat(nil, `"2006-01-02T15:04:05.000Z"`), nil
}

func (t *timestamp) UnmarshalJSON(b []byte) error {
	return (*time.Time)(t).UnmarshalJSON(b)
}

// clock returns t as messages hold it; the zero time means now.
func clock(t time.Time) (time.Time, error) {
	if t.IsZero() {
		t = time.Now()
	}
	t = t.UTC().Truncate(time.Millisecond)
	if t.Year() < 1 || t.Year() > 9999 {
		return t, fmt.Errorf("%w: timestamp: expected a year from 1 to 9999", ErrMessage)
	}
	return t, nil
}
