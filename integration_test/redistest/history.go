package redistest

import (
	"fmt"
	"maps"
	"slices"
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
	Lost        Kind = "lost"         // appended, never received
	Repeated    Kind = "repeated"     // received again without being allowed to
	OutOfOrder  Kind = "out of order" // received after a later one of its topic
	Unknown     Kind = "unknown"      // received, never appended to that topic
	Unexplained Kind = "unexplained"  // counted by status, and not what happened
)

// Finding is one thing that is wrong.
type Finding struct {
	Kind Kind
	Event
	Position int    // in the topic: of the append if lost, else of the receipt; from 0
	Observer string // the subscriber or stream it is about; "status" if unexplained
	Detail   string // what does not fit, if unexplained
}

// String is the finding in one line.
func (f Finding) String() string {
	about := ""
	if f.Observer != "" {
		about = f.Observer + ": "
	}
	if f.Kind == Unexplained {
		return fmt.Sprintf("%s%s: %s: %s", about, f.Topic, f.Kind, f.Detail)
	}
	return fmt.Sprintf("%s%s %s: %s (position %d)", about, f.Topic, f.MessageID, f.Kind, f.Position)
}

// Why an event need not arrive. Only what is unheard is due in the streams.
const (
	Parked    = "parked"    // set aside
	Discarded = "discarded" // given up by an operator
	Replayed  = "replayed"  // was parked; the replay is an append of its own
	Unheard   = "unheard"   // published while nobody was subscribed
	Reheard   = "reheard"   // was unheard; the replay is an append of its own
	Pending   = "pending"   // not published yet, or on its way
)

// History is everything that is known of a run, at its end: when all that is
// pending was given the time to arrive, and what was delivered to be settled.
type History struct {
	// Appended is what was appended, in commit order. A deliberate replay is an
	// event that is appended again, with the same message ID: it is due as often
	// as it is here.
	Appended []Event
	// Subscribers is what each of them received, in order of arrival.
	Subscribers map[string][]Event
	// Streams is what each of them holds, or what each reader of one has read.
	Streams map[string][]StreamEntry
	// Trimmed are the streams that may lack entries at the front, but never the
	// last one of a topic.
	Trimmed map[string]bool
	// Topics are those that a subscriber or a stream is there for. One that is not
	// in it is there for all topics if it is a subscriber, and for those of its
	// entries if it is a stream.
	Topics map[string][]string
	// Status is what is counted, by topic; nil if nobody looked.
	Status map[string]TopicCounts
	// MayRepeat are the message IDs that subscribers may receive several times.
	// That is no excuse for a stream.
	MayRepeat map[string]bool
	// Excused are the message IDs that need not arrive, and why: Parked, Discarded,
	// Replayed, Unheard, Reheard or Pending. A message that is appended n times has
	// up to n reasons, with commas between them, for its first appends. What is
	// excused and arrives nevertheless is held to the order only.
	Excused map[string]string
}

// Check compares what was appended with what every observer saw, and that with
// what status counts. Order is judged per topic.
//
// Events that may repeat may come several times, but each repetition must be a
// run in append order: 1 2 3 2 3 4 is fine, 1 2 3 3 2 4 is out of order. A run
// may break off and start again where it started or later, as when the server
// dies a second time.
//
// It returns nil if nothing is wrong. The subscribers come first, then the
// streams, then status.
func (h History) Check() []Finding {
	excuses, nonsense := h.excuses()
	if nonsense != nil {
		return nonsense
	}
	var findings []Finding
	report := func(observer string, found []Finding) {
		for _, f := range found {
			f.Observer = observer
			findings = append(findings, f)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(h.Subscribers)) {
		report(name, h.checkSubscriber(name, excuses))
	}
	for _, name := range slices.Sorted(maps.Keys(h.Streams)) {
		report(name, h.checkStream(name, excuses))
	}
	report("every stream", h.streamless(excuses))
	report("status", h.checkStatus(excuses))
	return findings
}

// Check is History.Check for one subscriber to all topics.
func Check(appended, received []Event, mayRepeat map[string]bool) []Finding {
	return History{Appended: appended, Subscribers: map[string][]Event{"": received}, MayRepeat: mayRepeat}.Check()
}

func (h History) checkSubscriber(name string, excuses map[string]excuse) []Finding {
	received := h.Subscribers[name]
	logs, arrivals := byTopic(h.Appended), map[string][]arrival{}
	for _, e := range received {
		arrivals[e.Topic] = append(arrivals[e.Topic], arrival{e, len(arrivals[e.Topic])})
	}
	topics := topicsOf(h.Appended, received)
	if own, ok := h.Topics[name]; ok {
		topics = topicsOf(eventsOf(own), received)
		for topic := range logs {
			if !slices.Contains(own, topic) {
				delete(logs, topic) // what arrives from there is unknown here
			}
		}
	}
	var findings []Finding
	for _, topic := range topics {
		order := order{log: logs[topic], arrivals: arrivals[topic], mayRepeat: h.MayRepeat,
			excused: func(id string) int { return excuses[id].unheard() }}
		findings = append(findings, order.check()...)
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

// eventsOf names topics where events are asked for.
func eventsOf(topics []string) []Event {
	var events []Event
	for _, topic := range topics {
		events = append(events, Event{Topic: topic})
	}
	return events
}
