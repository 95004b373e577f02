package simulation

import (
	"context"
	"time"

	"github.com/PitchConnect/matchrelay/relay"
)

// replicas are those that calls wait for. They have each write some time after the master, all of them at once.
type replicas struct {
	number int
	lag    time.Duration
	since  time.Time // when the lag began: what was there before, they have
}

// lagging names the fault of replicas that are behind.
const lagging = "lag"

// delayReplicas lets the replicas fall behind for a while.
func (w *world) delayReplicas(a Args) {
	s := w.server
	if s.replicas.number == 0 || s.has(lagging) {
		return
	}
	run := s.run
	s.faults[lagging] = true
	s.replicas.lag, s.replicas.since = a.duration("lag"), time.Now()
	w.after(a.duration("for"), func() {
		if s.run == run {
			delete(s.faults, lagging)
		}
	})
}

// replicated is how far the replica is that is promoted, when that was drawn: where calls wait for replicas, it has everything
// that they have confirmed.
func (s *server) replicated(drawn time.Time) time.Time {
	r := s.replicas
	if r.number == 0 {
		return drawn
	}
	has := time.Now()
	if s.has(lagging) {
		has = has.Add(-r.lag)
		if has.Before(r.since) {
			has = r.since
		}
	}
	if drawn.After(has) {
		return drawn
	}
	return has
}

// await is WAIT: how long it takes, and what it comes to.
func (s *server) await(w relay.Wait) (time.Duration, error) {
	switch {
	case w.Replicas <= 0:
		return 0, nil
	case s.has(lagging) && s.replicas.lag > w.Timeout:
		return w.Timeout, &relay.ReplicasError{Want: w.Replicas, Within: w.Timeout}
	case s.has(lagging):
		return s.replicas.lag, nil
	}
	return 0, nil
}

// checkReplicated finds what the outbox holds for delivered, where calls wait for replicas, and the promoted one has not.
// What Redis had forgotten before is put back without waiting.
func (w *world) checkReplicated(kept store) {
	p := w.process
	if p == nil || w.server.replicas.number == 0 {
		return
	}
	for _, topic := range topics {
		at, err := p.box.Position(context.Background(), topic)
		key := markKey{channelOf(topic), at.Origin}
		accepted := at.Progress.Accepted.Sequence
		if err != nil || w.lostBetween(key, w.began, time.Now()) || w.server.store.marks[key].published.Sequence < accepted {
			continue
		}
		if has := kept.marks[key].published.Sequence; has < accepted {
			w.violate("replicas: %s is settled up to #%d, and the replica that is promoted has #%d", topic, accepted, has)
		}
	}
}
