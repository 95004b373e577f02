package redistest

import (
	"encoding/json"
	"fmt"
)

// Event is one event of a history: what was appended, or what was received.
type Event struct {
	Topic     string
	MessageID string
}

// Kind says what is wrong with an event of a history.
type Kind string

// The kinds of findings.
const (
	Lost       Kind = "lost"         // appended, never received
	Repeated   Kind = "repeated"     // received again without being allowed to
	OutOfOrder Kind = "out of order" // received after a later one of its topic
	Unknown    Kind = "unknown"      // received, never appended to that topic
)

// Finding is one thing that is wrong.
type Finding struct {
	Kind Kind
	Event
	Position int // in the topic: of the append if lost, else of the receipt; from 0
}

// String is the finding in one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s %s: %s (position %d)", f.Topic, f.MessageID, f.Kind, f.Position)
}

// Check compares what was appended, in commit order, with what one subscriber
// received, in order of arrival. Order is judged per topic. Message IDs must be
// unique within a topic of appended.
//
// Events whose message ID is in mayRepeat may come several times, but each
// repetition must be a run in append order: 1 2 3 2 3 4 is fine, 1 2 3 3 2 4 is
// out of order. A run may break off and start again where it started or later,
// as when the server dies a second time.
//
// It returns nil if nothing is wrong.
func Check(appended, received []Event, mayRepeat map[string]bool) []Finding {
	logs, arrivals := byTopic(appended), byTopic(received)
	var findings []Finding
	for _, topic := range topicsOf(appended, received) {
		findings = append(findings, checkTopic(logs[topic], arrivals[topic], mayRepeat)...)
	}
	return findings
}

func checkTopic(log, arrivals []Event, mayRepeat map[string]bool) []Finding {
	var findings []Finding
	position := map[string]int{}
	for i, e := range log {
		position[e.MessageID] = i
	}
	seen := make([]bool, len(log))
	newest, previous := -1, -1
	runStart := -1 // where the current run of repeats began; -1 outside of one
	for at, e := range arrivals {
		found := func(k Kind) { findings = append(findings, Finding{k, e, at}) }
		i, known := position[e.MessageID]
		switch {
		case !known:
			found(Unknown)
			continue
		case seen[i] && !mayRepeat[e.MessageID]:
			found(Repeated)
			continue
		case seen[i]:
			if i <= previous {
				if runStart >= 0 && i < runStart {
					found(OutOfOrder)
				}
				runStart = i
			}
		case i < newest:
			found(OutOfOrder)
		default:
			newest, runStart = i, -1
		}
		seen[i], previous = true, i
	}
	for i, e := range log {
		if !seen[i] {
			findings = append(findings, Finding{Lost, e, i})
		}
	}
	return findings
}

func byTopic(events []Event) map[string][]Event {
	m := map[string][]Event{}
	for _, e := range events {
		m[e.Topic] = append(m[e.Topic], e)
	}
	return m
}

// topicsOf returns each topic once, in order of appearance.
func topicsOf(histories ...[]Event) []string {
	var topics []string
	seen := map[string]bool{}
	for _, h := range histories {
		for _, e := range h {
			if !seen[e.Topic] {
				seen[e.Topic] = true
				topics = append(topics, e.Topic)
			}
		}
	}
	return topics
}

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
