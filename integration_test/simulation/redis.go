package simulation

import "time"

// executed counts the calls that Redis runs down to its death.
func (w *world) executed() {
	if w.redisIn > 0 {
		if w.redisIn--; w.redisIn == 0 {
			w.killRedis(w.redisFor)
			w.note()
		}
	}
}

// killRedis kills Redis, which is started again some time later.
func (w *world) killRedis(d time.Duration) {
	if !w.server.up {
		return
	}
	w.trace("Redis dies")
	kept := w.server.kill()
	w.startRedis(d, kept)
}

func (w *world) startRedis(d time.Duration, kept store) {
	w.noFaults()
	w.after(d, func() {
		w.server.start(kept)
		w.trace("Redis runs: %s", w.server.run)
	})
}

// failover promotes a replica, which has what the master had some time ago. The master dies, or hands over when all that it
// had to send is sent.
func (w *world) failover(a Args) {
	if !w.server.up {
		return
	}
	kept := w.server.history.at(w.server.replicated(time.Now().Add(-a.duration("lag"))))
	w.trace("failover")
	w.checkReplicated(kept)
	if a.text("how") == "by-hand" {
		w.server.leave()
	} else {
		w.server.kill()
	}
	w.startRedis(a.duration("for"), kept)
}
