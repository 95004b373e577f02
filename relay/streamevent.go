package relay

import (
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// StreamKey is the key of the Redis Stream beside a Pub/Sub channel. The braces put it into the Cluster slot of whatever
// else belongs to the channel.
func StreamKey(channel string) string { return "{" + channel + "}:stream" }

// StreamEvent is one event as an entry of a stream carries it.
type StreamEvent struct {
	// MessageID is the event's own; it stays the same when the event is replayed, or handed over again.
	MessageID string
	Topic     string
	Channel   string
	// Source is the program that appended the event.
	Source string
	// Time is when it was appended to the outbox, in UTC; zero when the entry does not say.
	Time time.Time
	// DataSchema names the schema of the payload, "" when that is not known.
	DataSchema string
	// Sequence is the event's number in the outbox file that Origin stands for, from 1. A replay has a new one.
	Sequence uint64
	Origin   string
	// Predecessor is the sequence of the event before it in the log of its topic, as Redis was given it: parked and discarded ones
	// are none. It is 0 when there is none, or the entry does not say, as those of older versions.
	Predecessor uint64
	// Payload is what Pub/Sub subscribers get, byte for byte.
	Payload []byte
	// EntryID is Redis's ID of the entry. It changes when Redis forgets the entry and the relay adds it again.
	EntryID string
	// Position is where a reader stands once this event is handled; only Consume sets it. Write it in the same transaction
	// as what the event does, and each event takes effect once.
	Position Position
}

// ParseEntry reads an entry of a stream, as a worker of a consumer group gets it. It needs the fields id, sequence, origin
// and data; an entry without them is not an event of a relay, which the error says. No other field makes it fail.
func ParseEntry(m redis.XMessage) (StreamEvent, error) {
	text := func(field string) string {
		s, _ := m.Values[field].(string)
		return s
	}
	sequence, err := entrySequence(m)
	if err != nil {
		return StreamEvent{}, err
	}
	if _, ok := m.Values["data"].(string); !ok || !messageIDForm.MatchString(text("id")) {
		return StreamEvent{}, fmt.Errorf("entry %s is not an event: it needs the fields data and id, of at most 64 bytes of printable ASCII; find out who else writes to the stream", m.ID)
	}
	// What follows is no reason to withhold an event.
	at, _ := time.Parse(time.RFC3339Nano, text("time"))
	predecessor, err := strconv.ParseUint(text("predecessor"), 10, 64)
	if err != nil || predecessor >= sequence {
		predecessor = 0
	}
	return StreamEvent{
		MessageID: text("id"), Topic: text("type"), Channel: text("subject"), Source: text("source"), Time: at.UTC(),
		DataSchema: text("dataschema"), Sequence: sequence, Origin: text("origin"), Predecessor: predecessor, Payload: []byte(text("data")), EntryID: m.ID,
	}, nil
}

const maxOrigin = 64 // bytes; it is a UUID of 36

// entrySequence reads what identifies an event, its number in its origin, without touching the payload.
func entrySequence(m redis.XMessage) (uint64, error) {
	text, _ := m.Values["sequence"].(string)
	origin, _ := m.Values["origin"].(string)
	sequence, err := strconv.ParseUint(text, 10, 64)
	if err != nil || sequence == 0 || sequence > maxSequence || origin == "" || origin != brief(origin, maxOrigin) {
		return 0, fmt.Errorf("entry %s is not an event: it needs an origin of at most 64 bytes that can be printed and a sequence from 1 to 2^53-1; find out who else writes to the stream", m.ID)
	}
	return sequence, nil
}
