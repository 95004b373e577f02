package redistest

import "encoding/json"

// Events turns messages into a history: topics names the topic of each channel
// (a channel that is not in it is its own topic), id reads the message ID from
// a payload.
func Events(messages []Message, topics map[string]string, id func(payload []byte) string) []Event {
	var events []Event
	for _, m := range messages {
		topic, ok := topics[m.Channel]
		if !ok {
			topic = m.Channel
		}
		events = append(events, Event{topic, id(m.Payload)})
	}
	return events
}

// EnvelopeID reads the message_id of a message envelope. A payload that is none
// gives an ID that nothing was appended with.
func EnvelopeID(payload []byte) string {
	var envelope struct {
		MessageID string `json:"message_id"`
	}
	if err := json.Unmarshal(payload, &envelope); err != nil {
		return "not an envelope"
	}
	return envelope.MessageID
}
