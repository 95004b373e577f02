package simulation

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// calm ends every fault and waits until everything is delivered.
func (w *world) calm() {
	w.mu.Lock()
	for w.timers > 0 {
		w.mu.Unlock()
		w.sleepUntil(time.Now().Add(time.Minute))
		w.mu.Lock()
	}
	w.noFaults()
	w.net = network{}
	w.diskFull, w.dieIn, w.redisIn = false, 0, 0
	w.setDisk()
	for _, c := range w.server.clients {
		w.join(c)
		c.read(w.server.clock(), promptRate)
	}
	if p := w.process; p == nil {
		w.boot()
	} else {
		w.resume(p)
	}
	w.note()
	p := w.process
	most, back := time.Duration(0), time.Duration(0)
	for _, c := range w.server.clients {
		back = max(back, c.back)
	}
	for _, topic := range topics {
		most = max(most, back+2*w.patience(topic))
	}
	w.mu.Unlock()
	if p == nil {
		return // it has been reported
	}
	until := time.Now().Add(most)
	for {
		time.Sleep(20 * time.Second)
		left := pendingOf(w, p)
		if left == "" {
			break
		}
		if w.unblock(p) {
			until = time.Now().Add(most)
		}
		if time.Now().After(until) {
			w.mu.Lock()
			w.violate("not delivered in the end: %s", left)
			w.mu.Unlock()
			return
		}
	}
	time.Sleep(2*time.Minute + w.noise.between("end", 0, time.Second))
}

// pendingOf says what is still to be published, "" if nothing is.
func pendingOf(w *world, p *process) string {
	stats, err := p.box.Stats(context.Background())
	if err != nil {
		return err.Error()
	}
	for _, t := range stats.Topics {
		h := w.healthOf(p, t.Topic)
		if strings.Contains(h.LastError, secret) {
			w.violate("private: the state of %s shows a payload", t.Topic)
		}
		if t.Pending > 0 || h.State == relay.Held || h.State == relay.Waiting { // with what is to be published again
			return t.Topic + " is " + string(h.State) + ": " + h.LastError
		}
	}
	return ""
}

// end stops the relay as SIGTERM does.
func (w *world) end() {
	w.mu.Lock()
	p := w.process
	w.mu.Unlock()
	if p != nil {
		for _, topic := range topics {
			w.amnesias[topic] = w.healthOf(p, topic).Amnesias
		}
	}
	w.endRelays(p)
}

// checkState compares the processor's state with what it knows to have committed.
func (w *world) checkState() {
	err := w.process.box.View(func(tx *bolt.Tx) error {
		n := 0
		if b := tx.Bucket(stateBucket); b != nil {
			n = int(binary.BigEndian.Uint64(b.Get(stateKey)))
		}
		if n != w.updates {
			w.violate("atomic: %d updates of the state are in the file, and %d were acknowledged", n, w.updates)
		}
		return nil
	})
	if err != nil {
		w.violate("read the state: %v", err)
	}
}

// judge compares what happened with what is promised.
func (w *world) judge() {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.process
	if p == nil {
		return
	}
	defer p.close()
	for _, c := range w.server.clients {
		c.drain(farFuture)
	}
	w.checkState()
	report, err := p.box.Verify(context.Background())
	if err != nil || len(report.Problems) > 0 {
		w.violate("the outbox does not verify: %v %v", report.Problems, err)
		return
	}
	if !w.sound() {
		return // what follows may follow from it
	}
	list, err := p.box.List(context.Background(), outbox.Filter{})
	if err != nil {
		w.violate("list: %v", err)
		return
	}
	in := map[uint64]outbox.Info{}
	for _, info := range list {
		in[info.Sequence] = info
	}
	w.lookThrough()
	w.judgeEvents(in)
	w.judgePublications()
	w.judgeSubscribers(in)
	w.judgeBuffers()
	w.judgeUnheard(in)
	w.judgeStreams(in)
	w.judgeGroups()
	w.judgeMarks()
	w.judgeReports()
}

// judgeEvents: durable, an outage costs no attempt, nothing is dropped.
func (w *world) judgeEvents(in map[uint64]outbox.Info) {
	newest := w.newestSnapshot()
	for _, e := range w.events {
		info, there := in[e.sequence]
		switch {
		case there && info.MessageID != e.id:
			w.violate("#%d is %s in the file, and %s was appended", e.sequence, info.MessageID, e.id)
		case w.discarded[e.sequence] != "":
			if there && info.State != outbox.Discarded {
				w.violate("#%d was discarded and is %s", e.sequence, info.State)
			}
		case e.poison && len(w.rolledBack) > 0 && there && info.State == outbox.Delivered:
			// Redis has a later event: an older copy cannot know that this one was parked.
		case e.poison:
			if there && info.State != outbox.Parked && info.State != outbox.Replayed {
				w.violate("#%d cannot be published, and is %s", e.sequence, info.State)
			}
		case !w.published[e.id] && w.undone(e.id):
		case !w.published[e.id]:
			w.violate("durable: #%d %s of %s was never published, it is %q", e.sequence, e.id, e.topic, info.State)
		case there && (info.State == outbox.Parked || info.State == outbox.Pending):
			w.violate("#%d could be published, and is %s: %s", e.sequence, info.State, info.LastError)
		case there && info.State == outbox.Replayed && !w.replayed[e.sequence]:
			w.violate("#%d is replayed, and no operator did that", e.sequence)
		}
	}
	if _, there := in[newest]; newest != 0 && !there {
		w.violate("bounded: the newest snapshot, #%d, was pruned", newest)
	}
	for _, info := range in {
		if strings.Contains(info.LastError, secret) {
			w.violate("private: #%d shows a payload", info.Sequence)
		}
		if info.State == outbox.Parked && w.schedule.Settings.text("poison") == "block" {
			w.violate("#%d is parked, and was to block its topic", info.Sequence)
		}
		if w.refused[info.MessageID] {
			w.violate("atomic: #%d %s is in the file, and its append failed", info.Sequence, info.MessageID)
		}
		if !w.poison[info.MessageID] && (info.State == outbox.Parked || info.Attempts > 0) {
			w.violate("#%d is %s with %d attempts, and nothing is wrong with it: %s", info.Sequence, info.State, info.Attempts, info.LastError)
		}
	}
}

// checkStale: a replay never sets subscribers back.
func (w *world) checkStale(replayed outbox.Entry) {
	if !replayed.Snapshot {
		return
	}
	for _, e := range w.events {
		if e.topic == replayed.Topic && e.snapshot && e.replayOf == 0 && e.sequence > replayed.ReplayOf && e.sequence < replayed.Sequence &&
			!e.poison && w.discarded[e.sequence] == "" && w.heard(e.id) {
			w.violate("replay: #%d is replayed, and the newer snapshot #%d was delivered", replayed.ReplayOf, e.sequence)
			return
		}
	}
}

// heard says whether somebody heard an event when it was published last: a tail that comes again to no one is unheard, whoever had
// heard it before.
func (w *world) heard(id string) (heard bool) {
	for _, p := range w.server.log {
		if p.event == id {
			heard = len(p.heard) > 0
		}
	}
	return heard
}

// judgeMarks: in the end Redis and the file agree on what was accepted last.
func (w *world) judgeMarks() {
	for _, topic := range topics {
		p, err := w.process.box.Position(context.Background(), topic)
		if err != nil {
			w.violate("position: %v", err)
			continue
		}
		key := markKey{channelOf(topic), p.Origin}
		if m := w.server.store.marks[key].published; m != p.Progress.Accepted {
			w.violate("the mark of %s is #%d %s, and the file says #%d %s", topic, m.Sequence, m.MessageID, p.Progress.Accepted.Sequence, p.Progress.Accepted.MessageID)
		}
	}
}

// judgeReports: what the relay says of Redis and of the file has a cause, and it does say it.
func (w *world) judgeReports() {
	if w.alerted["outbox_rolled_back"] > 0 && len(w.rolledBack) == 0 {
		w.violate("a rollback of the file is reported, and there was none")
	}
	for _, t := range w.toldOfLess() {
		if w.amnesias[topicOf(t.channel)] == 0 {
			w.violate("Redis told at %v that it has forgotten something of %s, and that was not reported", t.told.Sub(w.began), t.channel)
		}
	}
	if n := len(w.rolledBack); n > 0 {
		r := w.rolledBack[n-1]
		// What retention has removed of the topic may have been what Redis had, as far as the copy knows.
		if r.ahead != (markKey{}) && w.reportedAt["outbox_rolled_back"].Before(r.at) && !w.lostBetween(r.ahead, r.at, time.Now()) && w.positionOf(topicOf(r.ahead.channel)).PrunedTo == 0 {
			w.violate("the rollback at %v was not reported: Redis had something of %s that the older copy does not know", r.at.Sub(w.began), r.ahead.channel)
		}
	}
	minutes := int(time.Since(w.began) / time.Minute)
	if others, most := w.calls-len(w.looks), 3000+1000*minutes+60*len(w.server.log); others > most {
		w.violate("%d calls of Redis in %d minutes for %d publications", others, minutes, len(w.server.log))
	}
	if most := 3000 + 1300*minutes; len(w.looks) > most { // one each 50 ms, while a subscriber is waited for
		w.violate("%d looks at the buffers in %d minutes", len(w.looks), minutes)
	}
}

// positionOf is where a topic stands in the file now.
func (w *world) positionOf(topic string) outbox.Position {
	p, err := w.process.box.Position(context.Background(), topic)
	if err != nil {
		w.violate("position: %v", err)
	}
	return p
}

// toldOfLess finds an answer with an older mark than the relay knew of when it asked; only the last relay was certainly there
// to report it, once that Redis had answered it again: with streams it looks into them first.
func (w *world) toldOfLess() (list []tell) {
	known := map[markKey]uint64{}
	at := map[markKey]time.Time{}
	origins := map[string]bool{} // of the last relay
	origin := ""                 // the newest of them
	final := w.positionOf(topics[0]).Origin
	for i, t := range w.tells {
		key := markKey{t.channel, t.origin}
		again := func(later tell) bool {
			return later.relay == t.relay && later.channel == t.channel && later.run == t.run
		}
		if t.relay == w.relays && !origins[t.origin] {
			origin, origins[t.origin] = t.origin, true
		}
		switch {
		case t.relay != w.relays:
		case t.origin != origin, t.origin != final && t.told.After(w.reportedAt["outbox_rolled_back"]):
			// the topic takes the fresh one next, and what Redis has of the former one does not matter any more
		case t.mark < known[key] && t.asked.After(at[key]) && slices.ContainsFunc(w.tells[i+1:], again):
			list = append(list, t)
		case t.agreed && t.mark > known[key]:
			known[key], at[key] = t.mark, t.told
		}
	}
	return list
}
