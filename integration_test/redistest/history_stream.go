package redistest

import "slices"

// checkStream judges a stream, which holds each event exactly once, in order.
func (h History) checkStream(name string, excuses map[string]excuse) []Finding {
	type place struct {
		origin   string
		sequence uint64
	}
	type lane struct{ origin, topic string }
	logs, arrivals, count := byTopic(h.Appended), map[string][]arrival{}, map[string]int{}
	taken, highest := map[place]bool{}, map[lane]uint64{}
	wrong := map[string][]Finding{} // by topic: what the sequences say
	topics := topicsOf(eventsOf(h.Topics[name]))
	for _, e := range h.Streams[name] {
		a := arrival{Event{e.Topic, e.MessageID}, count[e.Topic]}
		count[e.Topic]++
		if !slices.Contains(topics, e.Topic) {
			topics = append(topics, e.Topic)
			if h.Topics[name] != nil {
				delete(logs, e.Topic) // what is not there for this stream is unknown in it
			}
		}
		found := func(k Kind) {
			wrong[e.Topic] = append(wrong[e.Topic], Finding{Kind: k, Event: a.Event, Position: a.at})
		}
		p, l := place{e.Origin, e.Sequence}, lane{e.Origin, e.Topic}
		switch {
		case taken[p]: // one place in the log, so one event, whatever its message ID says
			found(Repeated)
			continue
		case e.Sequence < highest[l]:
			found(OutOfOrder)
		}
		taken[p], highest[l] = true, max(highest[l], e.Sequence)
		arrivals[e.Topic] = append(arrivals[e.Topic], a)
	}
	var findings []Finding
	for _, topic := range topics {
		order := order{log: logs[topic], arrivals: arrivals[topic], trimmed: h.Trimmed[name],
			excused: func(id string) int { return excuses[id].unpublished() }}
		found := order.check()
		for _, f := range wrong[topic] {
			if !slices.Contains(found, f) { // the message IDs may say the same
				found = append(found, f)
			}
		}
		findings = append(findings, found...)
	}
	return findings
}

// streamless are the events of topics that no stream is there for, or has an
// entry of.
func (h History) streamless(excuses map[string]excuse) []Finding {
	if len(h.Streams) == 0 {
		return nil
	}
	held := map[string]bool{}
	for name, entries := range h.Streams {
		for _, topic := range h.Topics[name] {
			held[topic] = true // and judged there
		}
		for _, e := range entries {
			held[e.Topic] = true
		}
	}
	var findings []Finding
	logs := byTopic(h.Appended)
	for _, topic := range topicsOf(h.Appended) {
		if !held[topic] {
			order := order{log: logs[topic], excused: func(id string) int { return excuses[id].unpublished() }}
			findings = append(findings, order.check()...)
		}
	}
	return findings
}
