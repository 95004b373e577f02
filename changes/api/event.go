package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/PitchConnect/matchrelay/schema"
)

// decodeEvent reads the body of an event: a whole message, which stays as it is, or the type and payload of one.
func (a *API) decodeEvent(body []byte) (schema.Message, error) {
	m, err := a.message(body)
	if errors.Is(err, schema.ErrMessage) {
		err = fmt.Errorf("%w: %w", errInvalidEvent, err)
	}
	return m, err
}

// A match update that did not come from the recorder would tell subscribers another list than the one that is recorded, and
// the next list would be compared with what they do not have.
var errMatchUpdate = fmt.Errorf("%w: they follow from the match list; post that to /v1/matches, which finds out what changed", errWrongTopic)

func (a *API) message(body []byte) (schema.Message, error) {
	if !json.Valid(body) || bytes.TrimSpace(body)[0] != '{' {
		return schema.Message{}, fmt.Errorf("%w: body: expected a JSON object", errInvalidEvent)
	}
	members := map[string][]byte{} // the last of a name counts, as it does for subscribers
	for name, value := range schema.Members(body) {
		members[name] = value
	}
	kind := schema.TextOf(members["type"])
	if kind == schema.TypeMatchUpdates {
		return schema.Message{}, errMatchUpdate // whatever else is in it
	}
	for _, name := range []string{"message_id", "timestamp", "source", "version"} {
		if members[name] != nil {
			m, err := schema.Decode(body)
			if err == nil {
				err = m.Validate()
			}
			return m, err
		}
	}
	for name := range members {
		if name != "type" && name != "payload" {
			return schema.Message{}, fmt.Errorf("%w: %.40q: expected type and payload only, or a whole message with message_id, timestamp, source and version", errInvalidEvent, name)
		}
	}
	return a.recorder.Message(kind, members["payload"])
}
