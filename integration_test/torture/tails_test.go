package torture

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
)

// tails is what the outbox has stored of the tails while each process of Redis lived. A tail only loses events at its front, so
// what comes again after the death of a process begins where the outbox says, or later.
type tails struct {
	mu      sync.Mutex
	masters []string                     // run_id of each process that was the master, in order; guarded by mu, like what follows
	from    map[string]map[string]uint64 // by run_id and topic: the first event of the tail when it was last looked at
	full    bool                         // the disk is
	unsure  map[string]bool              // masters during a full disk; see note
}

func newTails() *tails {
	return &tails{from: map[string]map[string]uint64{}, unsure: map[string]bool{}}
}

// crown makes a server the next master that everyone is to find.
func (r *rig) crown(s *redistest.Server, rise func()) {
	l := r.tails
	l.mu.Lock()
	unsure := l.full
	l.mu.Unlock()
	rise()
	r.pair.name(s)
	c := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, ReadTimeout: redistest.Patience})
	defer c.Close()
	run := c.InfoMap(context.Background(), "server").Item("Server", "run_id")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.masters = append(l.masters, run)
	l.unsure[run] = unsure || l.full
}

// disk takes note that the disk is full, or is no more.
func (l *tails) disk(full bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full = full; full && len(l.masters) > 0 {
		l.unsure[l.masters[len(l.masters)-1]] = true
	}
}

// watch looks at what is stored again and again.
func (l *tails) watch(ctx context.Context, r *rig) {
	for ctx.Err() == nil {
		l.note(r)
		select {
		case <-ctx.Done():
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// note takes down what is stored now, if a process tells. A relay that begins while the disk is full reads a tail from which the
// last receipt of the relay before it is missing, and that is stored later nevertheless: of masters during a full disk, only what
// was seen before counts.
func (l *tails) note(r *rig) {
	s, err := r.status()
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range s.Outbox.Topics {
		p := t.Progress
		if !slices.Contains(l.masters, p.Run) || l.unsure[p.Run] {
			continue
		}
		from := p.TailFrom
		if from == 0 {
			from = p.Accepted.Sequence + 1
		}
		if l.from[p.Run] == nil {
			l.from[p.Run] = map[string]uint64{}
		}
		l.from[p.Run][t.Topic] = max(l.from[p.Run][t.Topic], from)
	}
}

// before is the first event of a topic that may come again from the nth master (from 1): the tail begins there, or later, when the
// one before it died.
func (l *tails) before(n int, topic string) uint64 {
	from := uint64(0)
	for _, run := range l.masters[:n-1] {
		from = max(from, l.from[run][topic])
	}
	return from
}

// boundRepeats takes from what may be repeated what came again to the direct subscriber though it was older than the tail. Each
// of its connections is one to another master, see onRedis.
func (v *verdict) boundRepeats() {
	tails, direct := v.r.tails, v.r.direct
	if c := direct.Connections(); c != len(tails.masters) {
		v.r.find("the direct subscriber has had %d connections to %d masters", c, len(tails.masters))
		return
	}
	newest := map[string]uint64{}
	for i, e := range v.appended {
		newest[e.MessageID] = v.sequences[i]
	}
	connection := map[string]int{} // over which it came last
	repeats, old := 0, 0
	for _, m := range direct.Messages() {
		id, topic := redistest.EnvelopeID(m.Payload), topicOf[m.Channel]
		if last := connection[id]; last != 0 && last != m.Connection {
			repeats++
			if from := tails.before(m.Connection, topic); newest[id] < from {
				delete(v.mayRepeat, id)
				if old++; old <= mostTold {
					v.r.find("%s #%d came again over connection %d, the tail began at #%d", topic, newest[id], m.Connection, from)
				}
			}
		}
		connection[id] = m.Connection
	}
	v.r.t.Logf("%d events came again to the direct subscriber; of %d masters, the tail of %d was seen", repeats, len(tails.masters), len(tails.from))
}
