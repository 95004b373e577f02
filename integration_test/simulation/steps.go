package simulation

import (
	"time"
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
		"replica-lag":        (*world).delayReplicas,
		"redis-script-flush": func(w *world, _ Args) { w.server.loaded = false },

		"group-create": onGroups(func(s store, channel, name string, a Args) { s.createGroup(channel, name, a.text("from") == "new") }),
		"group-read": onGroups(func(s store, channel, name string, a Args) {
			s.readGroup(channel, name, a.number("n"), a.number("left"))
		}),
		"group-ack":    onGroups(func(s store, channel, name string, _ Args) { s.ackGroup(channel, name) }),
		"group-remove": onGroups(func(s store, channel, name string, _ Args) { s.removeGroup(channel, name) }),

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
		"relay-kill":     ofRelays(func(r *relayProcess, a Args) { r.kill(a.duration("for")) }),
		"relay-hang":     ofRelays(func(r *relayProcess, a Args) { r.hang(a.duration("for")) }),
		"relay-silent":   ofRelays(func(r *relayProcess, a Args) { r.silent(a.duration("for")) }),
		"relay-cut-off":  ofRelays(func(r *relayProcess, _ Args) { r.link.sever() }),
		"disk-full":      (*world).fillDisk,
		"backup": func(w *world, _ Args) {
			if w.process != nil {
				w.backup = &copied{w.copyFile(w.process.path), w.lineage.clone(), time.Now(), w.positionOf(updates).Origin}
			}
		},
		"restore": (*world).restore,

		"pause": (*world).pause,
		"backlog-pause": func(w *world, a Args) { // in the middle of a backlog, of which some is discarded meanwhile
			w.append(a.text("topic"), a.number("n"), 200, false)
			w.after(a.duration("in"), func() { w.pause(a) })
		},
		"retry-now": (*world).retryNow,
		"discard":   (*world).discard,
		"replay":    (*world).replay,
	}
}

// ofRelays is a step that is about a relay in a process of its own; nothing, where there is none.
func ofRelays(do func(*relayProcess, Args)) func(*world, Args) {
	return func(w *world, a Args) {
		if w.apart() {
			do(w.relayProcess(a), a)
		}
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
