package simulation

import "time"

// obstacle is what stands in the way of a topic, "" when nothing does.
func (w *world) obstacle(topic string) string {
	s := w.server
	switch {
	case w.process == nil:
		return "process down"
	case w.process.waiting:
		return "relay down"
	case w.paused:
		return "paused"
	case w.diskFull:
		return "disk full"
	case w.blockedAt(topic) != 0:
		return "poison"
	case s == nil || !s.up || !s.frozen.IsZero():
		return "Redis down"
	case len(s.faults) > 0:
		return "Redis faulty"
	case w.net.mode != "" || len(w.net.faults) > 0:
		return "network"
	case s.subscribed(channelOf(topic)) < w.schedule.Settings.number("min."+topic):
		return "too few subscribers"
	}
	for _, c := range s.clients {
		if c.drain(s.clock()); c.present && (c.rate < promptRate || c.waiting(s.clock()) > 0) {
			return "slow subscriber"
		}
	}
	return ""
}

// note is called after each change, and now and then.
func (w *world) note() {
	now := time.Now()
	for _, topic := range topics {
		if w.obstacle(topic) != "" {
			w.trouble[topic] = now
		}
	}
	if w.paused && w.pausedAt.IsZero() {
		w.pausedAt = now
	} else if !w.paused {
		w.pausedAt = time.Time{}
	}
	if down := w.server != nil && !w.server.up; down && w.downAt.IsZero() {
		w.downAt = now
	} else if !down {
		w.downAt = time.Time{}
	}
}

// patience is how long an event may wait on a topic that nothing stands in the way of: the wait for former subscribers with
// all its extensions, the longest backoff, and what it takes to find out that an event is poison.
func (w *world) patience(topic string) time.Duration {
	d := 4*w.schedule.Settings.duration("rejoin") + 3*time.Minute
	for _, e := range w.events {
		if e.poison && e.topic == topic {
			d += 90 * time.Second
		}
	}
	return d
}

// checkProgress finds what has come to a stand though nothing stands in its way.
func (w *world) checkProgress() {
	w.lookThrough()
	now := time.Now()
	for _, topic := range topics {
		since := w.trouble[topic]
		if w.obstacle(topic) != "" || now.Sub(since) < w.patience(topic) {
			continue
		}
		for _, e := range w.events {
			if e.topic == topic && !w.published[e.id] && !e.poison && now.Sub(e.at) > w.patience(topic) && w.discarded[e.sequence] == "" && !w.undone(e.id) {
				w.violate("stalled: %s #%d has waited for %v, and nothing was in its way for %v", topic, e.sequence, now.Sub(e.at), now.Sub(since))
				return
			}
		}
	}
}
