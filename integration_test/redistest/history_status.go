package redistest

import (
	"fmt"
	"maps"
	"slices"
)

// TopicCounts are what status says of a topic. Status as JSON leaves Appended
// out: take the sum of all but Unheard, which Delivered includes.
type TopicCounts struct {
	Appended, Pending, Delivered, Unheard, Parked, Discarded, Replayed uint64
}

// checkStatus compares the counts of each topic with the history. Each rule
// holds at the end of a run whatever happened in it:
//
//   - An append is counted once, under exactly one state.
//   - Parked, discarded, replayed and unheard are known to the test, which has
//     caused or listed them: as many are excused.
//   - What any observer has seen has been taken by Redis, so it is not pending.
//   - What no subscriber has seen was not delivered, unless unheard.
//
// The last two compare numbers, since a count does not say which events it means.
func (h History) checkStatus(excuses map[string]excuse) []Finding {
	if h.Status == nil {
		return nil
	}
	var findings []Finding
	logs := byTopic(h.Appended)
	topics := topicsOf(h.Appended)
	for _, topic := range slices.Sorted(maps.Keys(h.Status)) {
		if !slices.Contains(topics, topic) {
			topics = append(topics, topic)
		}
	}
	for _, topic := range topics {
		for _, detail := range h.Status[topic].against(h.reckon(topic, logs[topic], excuses)) {
			findings = append(findings, Finding{Kind: Unexplained, Event: Event{Topic: topic}, Detail: detail})
		}
	}
	return findings
}

// reckoning is what a history says of a topic's counts.
type reckoning struct {
	appended int
	excused  excuse
	settled  int // seen by any observer, or excused as anything but pending
	heard    int // seen by any subscriber, and not excused
	ears     bool
}

func (h History) reckon(topic string, log []Event, excuses map[string]excuse) reckoning {
	subscribers, streams := map[string]int{}, map[string]int{} // by message ID: arrivals at the observer with the most
	for _, received := range h.Subscribers {
		raise(subscribers, topic, received)
	}
	for _, entries := range h.Streams {
		raise(streams, topic, eventsIn(entries))
	}
	r := reckoning{appended: len(log), excused: excuse{}, ears: len(h.Subscribers) > 0}
	appends := map[string]int{}
	for _, e := range log {
		appends[e.MessageID]++
	}
	for id, n := range appends {
		e := excuses[id]
		for reason, n := range e {
			r.excused[reason] += n
		}
		r.heard += min(subscribers[id], n-e.settled())
		// In a stream there is also what was unheard.
		seen := max(subscribers[id], streams[id]-e[Unheard]-e[Reheard])
		r.settled += e.settled() + min(seen, n-e.unheard())
	}
	return r
}

// raise takes note of the arrivals of a topic at one observer.
func raise(most map[string]int, topic string, received []Event) {
	arrived := map[string]int{}
	for _, e := range received {
		if e.Topic == topic {
			arrived[e.MessageID]++
		}
	}
	for id, n := range arrived {
		most[id] = max(most[id], n)
	}
}

func eventsIn(entries []StreamEntry) []Event {
	var events []Event
	for _, e := range entries {
		events = append(events, Event{e.Topic, e.MessageID})
	}
	return events
}

// against says what does not fit.
func (c TopicCounts) against(r reckoning) []string {
	var details []string
	add := func(format string, args ...any) { details = append(details, fmt.Sprintf(format, args...)) }
	if int(c.Appended) != r.appended {
		add("appended %d, while %d were", c.Appended, r.appended)
	}
	if c.Pending+c.Delivered+c.Parked+c.Discarded+c.Replayed != c.Appended {
		add("pending %d + delivered %d + parked %d + discarded %d + replayed %d is not appended %d",
			c.Pending, c.Delivered, c.Parked, c.Discarded, c.Replayed, c.Appended)
	}
	for _, state := range []struct {
		name  string
		count uint64
	}{{Parked, c.Parked}, {Discarded, c.Discarded}, {Replayed, c.Replayed}, {Unheard, c.Unheard}} {
		if int(state.count) != r.excused[state.name] {
			add("%s %d, while %d were", state.name, state.count, r.excused[state.name])
		}
	}
	if c.Unheard > c.Delivered {
		add("unheard %d of delivered %d", c.Unheard, c.Delivered)
	}
	if possible := r.appended - r.settled; int(c.Pending) > possible {
		add("pending %d, while at most %d can be", c.Pending, possible)
	}
	// Where unheard is wrong, that was said above.
	unheard := max(int(c.Unheard), r.excused[Unheard]) + r.excused[Reheard]
	if heard := int(c.Delivered) - unheard; r.ears && heard > r.heard {
		add("delivered %d and heard, while %d were", heard, r.heard)
	}
	return details
}
