package simulation

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
)

// verbs are what a step can do.
var verbs map[string]func(w *world, a Args)

func init() {
	verbs = map[string]func(w *world, a Args){
		"append": func(w *world, a Args) {
			w.append(a.text("topic"), a.number("n"), a.number("bytes"), false)
			for range a.number("times") - 1 { // each a moment apart
				w.after(0, func() { w.append(a.text("topic"), a.number("n"), a.number("bytes"), false) })
			}
		},
		"poison": func(w *world, a Args) { w.append(a.text("topic"), 1, 300, true) },

		"redis-kill":   func(w *world, a Args) { w.killRedis(a.duration("for")) },
		"redis-die-in": func(w *world, a Args) { w.redisIn, w.redisFor = a.number("calls"), a.duration("for") },
		"redis-restart": func(w *world, a Args) { // SHUTDOWN, which saves
			if w.server.up {
				kept := w.server.leave()
				if w.server.persist == persistNone {
					kept = newStore()
				}
				w.startRedis(a.duration("for"), kept)
			}
		},
		"redis-failover": (*world).failover,
		"redis-freeze": func(w *world, a Args) {
			if w.server.up && w.server.frozen.IsZero() {
				w.server.freeze()
				run := w.server.run
				w.after(a.duration("for"), func() {
					if w.server.run == run {
						w.server.thaw()
					}
				})
			}
		},
		"redis-forget": func(w *world, a Args) {
			channel := ""
			if topic := a.text("topic"); topic != "" {
				channel = channelOf(topic)
			}
			w.server.evict(channel, a.text("what") != "stream", a.text("what") != "mark")
		},
		"redis-fault": func(w *world, a Args) {
			name, run := a.text("name"), w.server.run
			if !w.server.up {
				return
			}
			w.fault(name)
			w.after(a.duration("for"), func() {
				if w.server.run == run {
					w.noFault(name)
				}
			})
		},
		"redis-script-flush": func(w *world, _ Args) { w.server.loaded = false },

		"net": func(w *world, a Args) {
			w.net.mode = a.text("mode")
			w.after(a.duration("for"), func() { w.net.mode = "" })
		},
		"net-fault": func(w *world, a Args) {
			for range a.number("skip") {
				w.net.faults = append(w.net.faults, fault{})
			}
			for range max(1, a.number("calls")) {
				w.net.faults = append(w.net.faults, fault{a.text("kind"), a.duration("for")})
			}
		},

		"subscriber-leave": func(w *world, a Args) {
			if c := w.client(a); c != nil {
				c.disconnect(w.server.clock())
				c.present = false
			}
		},
		"subscriber-join": func(w *world, a Args) {
			if c := w.client(a); c != nil {
				w.join(c)
			}
		},
		"subscriber-pace": func(w *world, a Args) {
			c := w.client(a)
			if c == nil {
				return
			}
			c.read(w.server.clock(), int64(a.number("rate")))
			if d := a.duration("for"); d > 0 {
				w.after(d, func() { c.read(w.server.clock(), promptRate) })
			}
		},

		"process-kill":   func(w *world, a Args) { w.kill(); w.bootAfter(a.duration("for")) },
		"process-die-in": func(w *world, a Args) { w.dieIn, w.dieFor = a.number("calls"), a.duration("for") },
		"process-stop":   (*world).stopProcess,
		"relay-restart":  (*world).restartRelay,
		"relay-next":     (*world).handOver,
		"disk-full": func(w *world, a Args) {
			w.diskFull = true
			w.after(a.duration("for"), func() { w.diskFull = false })
		},
		"backup": func(w *world, _ Args) {
			if w.process != nil {
				w.backup = &copied{w.copyFile(w.process.path), w.lineage.clone(), time.Now(), w.originOf(updates)}
			}
		},
		"restore": (*world).restore,

		"pause": func(w *world, a Args) {
			p := w.process
			if p == nil || p.waiting || w.paused {
				return
			}
			w.paused = true
			d := p.relay
			d.relay.Pause()
			if percent := a.number("discard"); percent > 0 {
				w.after(a.duration("for")/2, func() { w.discard(a.with("percent", strconv.Itoa(percent))) })
			}
			w.after(a.duration("for"), func() {
				if w.process == p && p.relay == d {
					w.paused = false
				}
				d.relay.Resume()
			})
		},
		"backlog-pause": func(w *world, a Args) { // in the middle of a backlog, of which some is discarded meanwhile
			w.append(a.text("topic"), a.number("n"), 200, false)
			w.after(a.duration("in"), func() { verbs["pause"](w, a) })
		},
		"retry-now": func(w *world, _ Args) {
			if w.process != nil {
				w.process.relay.relay.RetryNow()
			}
		},
		"discard": (*world).discard,
		"replay":  (*world).replay,
	}
}

// promptRate is how many bytes a second a prompt subscriber reads.
const promptRate = 50 << 20

// client is one of the subscribers that steps may meddle with, nil when there is none.
func (w *world) client(a Args) *subscriber {
	var list []*subscriber
	for i, c := range w.server.clients {
		if !w.steady(i) {
			list = append(list, c)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list[a.number("who")%len(list)]
}

func (w *world) join(c *subscriber) {
	if !c.present {
		c.present = true
		if w.server.up {
			c.from = time.Now()
		}
	}
}

// failover promotes a replica, which has what the master had some time ago. The master dies, or hands over when all that it had to
// send is sent.
func (w *world) failover(a Args) {
	if !w.server.up {
		return
	}
	kept := w.server.history.at(time.Now().Add(-a.duration("lag")))
	w.trace("failover")
	if a.text("how") == "by-hand" {
		w.server.leave()
	} else {
		w.server.kill()
	}
	w.startRedis(a.duration("for"), kept)
}

// stopProcess ends the process as SIGTERM does, and starts it again.
func (w *world) stopProcess(a Args) {
	p := w.process
	if p == nil {
		return
	}
	w.process = nil
	w.booting = true
	w.timers++
	p.relay.stop()
	go func() {
		<-p.relay.ended
		_ = p.box.Close() // a failure is one of the last receipts, which are sent again
		w.mu.Lock()
		defer w.mu.Unlock()
		w.timers--
		w.file = p.path
		w.booting = false
		w.bootAfter(a.duration("for"))
	}()
}

// restartRelay ends the relay as SIGTERM does, but not the process that has the file, and starts another one.
func (w *world) restartRelay(a Args) {
	p := w.process
	if p == nil || p.waiting {
		return
	}
	p.waiting = true
	w.timers++
	p.relay.stop()
	go func() {
		<-p.relay.ended
		w.mu.Lock()
		defer w.mu.Unlock()
		w.timers--
		w.after(a.duration("for"), func() { w.nextRelay(p) })
	}()
}

func (w *world) nextRelay(p *process) {
	if w.process == p {
		w.paused = false
		w.startRelay(p)
	}
}

// handOver gives the right to drain to another relay, as when nothing has been heard of the one before: that may be at anything, and what it
// has sent to Redis may arrive when the next one is at work.
func (w *world) handOver(Args) {
	if p := w.process; p != nil && !p.waiting {
		p.waiting = true
		p.relay.fence()
		w.after(0, func() { w.nextRelay(p) })
	}
}

// restore puts the backup in the place of the file.
func (w *world) restore(a Args) {
	if w.backup == nil || w.process == nil {
		return
	}
	w.kill()
	w.file = w.copyFile(w.backup.file)
	w.lineage = w.backup.lineage.clone()
	w.rolledBack = append(w.rolledBack, rollback{w.backup.at, time.Now(), w.ahead()})
	w.bootAfter(a.duration("for"))
}

// ahead is a mark of Redis at an event that the file which has been put back does not know, if there is one.
func (w *world) ahead() markKey {
	for _, topic := range []string{updates, status} { // the relay's own alerts are only in the file
		key := markKey{channelOf(topic), w.backup.origin}
		m := w.server.store.marks[key].published
		known := slices.ContainsFunc(w.events, func(e appended) bool { return e.sequence == m.Sequence && e.id == m.MessageID })
		if m.Sequence != 0 && !known {
			return key
		}
	}
	return markKey{}
}

// discard gives up some of the pending and parked events.
func (w *world) discard(a Args) {
	p := w.process
	if p == nil || w.diskFull {
		return
	}
	pending, err := p.box.List(context.Background(), outbox.Filter{State: outbox.Pending})
	if err != nil {
		w.violate("list: %v", err)
		return
	}
	parked, _ := p.box.List(context.Background(), outbox.Filter{State: outbox.Parked})
	list := append(pending, parked...)
	var chosen []uint64
	for _, e := range list {
		if w.noise.of("discard").IntN(100) < a.number("percent") {
			chosen = append(chosen, e.Sequence)
		}
	}
	result, err := p.box.Discard(context.Background(), chosen, outbox.DiscardOptions{Actor: "simulation", Reason: "drawn"})
	w.trace("discarded %v: %+v %v", chosen, result, err)
	if err != nil {
		w.violate("discard: %v", err)
		return
	}
	// What is in flight may be published still.
	quiet := w.flying == 0 && w.paused && time.Since(w.pausedAt) > 2*callLimit(1<<20) || w.flying == 0 && !w.server.up && time.Since(w.downAt) > time.Minute
	for _, info := range list {
		if _, now, err := p.box.Get(context.Background(), info.Sequence); err == nil && now.State == outbox.Discarded && slices.Contains(chosen, info.Sequence) {
			w.discarded[info.Sequence], w.givenUp[info.MessageID] = info.MessageID, true
			if quiet {
				w.silenced[info.MessageID] = time.Now()
			}
		}
	}
}

// replay appends again what is parked or was not heard.
func (w *world) replay(Args) {
	p := w.process
	if p == nil || w.diskFull {
		return
	}
	var sequences []uint64
	for _, state := range []outbox.State{outbox.Parked, outbox.Unheard} {
		list, err := p.box.List(context.Background(), outbox.Filter{State: state})
		if err != nil {
			w.violate("list: %v", err)
			return
		}
		for _, e := range list {
			sequences = append(sequences, e.Sequence)
		}
	}
	w.checkReplay(p, sequences)
}

// checkReplay replays, and takes note of what is appended by that.
func (w *world) checkReplay(p *process, sequences []uint64) {
	result, err := p.box.Replay(context.Background(), sequences, outbox.ReplayOptions{Actor: "simulation", Reason: "drawn"})
	w.trace("replayed %v: %+v %v", sequences, result, err)
	if err != nil {
		w.trace("replay: %v", err)
	}
	for _, sequence := range result.Sequences {
		e, _, err := p.box.Get(context.Background(), sequence)
		if err != nil {
			w.violate("replayed as #%d: %v", sequence, err)
			continue
		}
		w.record(outbox.Event{Topic: e.Topic, MessageID: e.MessageID, Snapshot: e.Snapshot, Payload: e.Payload}, sequence, e.ReplayOf, w.poison[e.MessageID])
		w.checkStale(e)
	}
}
