package torture

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// verdict is what the judge goes by: all that was appended, in order, and what of it need not have arrived.
type verdict struct {
	r         *rig
	appended  []redistest.Event
	sequences []uint64          // of appended
	excused   map[string]string // see redistest.History
	mayRepeat map[string]bool
	streams   map[string][]redistest.StreamEntry
	stats     outbox.Stats
}

var topicOf = map[string]string{channels[updates]: updates, channels[statuses]: statuses, channels[alerts]: alerts}

// judge compares everything with everything, when all is delivered and all processes have ended.
func (r *rig) judge() {
	if got := r.do("check"); got.code != 0 {
		r.find("the outbox fails its check: %s%s", got.stdout, got.stderr)
	}
	box, err := outbox.Open(r.db(), outbox.Options{MustExist: true})
	if err != nil {
		r.find("%v", err)
		return
	}
	defer box.Close()
	v := &verdict{r: r}
	if !v.gather(box) {
		return
	}
	v.checkWorker(box)
	v.checkHistory()
	for name, sub := range r.others {
		v.checkConnections(name, sub)
	}
	for topic := range channels {
		v.checkConsumer(topic)
	}
	r.checkLogs()
	r.meters.judge()
}

// gather learns the rest of what is known, and what need not have arrived.
func (v *verdict) gather(box *outbox.Outbox) bool {
	r, ctx := v.r, context.Background()
	report, err := box.Verify(ctx)
	if err != nil || len(report.Problems) > 0 {
		r.find("the outbox does not verify: %v %v", err, report.Problems)
	}
	list, err := box.List(ctx, outbox.Filter{})
	if err == nil {
		v.stats, err = box.Stats(ctx)
	}
	if err != nil {
		r.find("%v", err)
		return false
	}
	for _, info := range list {
		r.book.learn(info.Sequence, fact{info.Topic, info.MessageID, info.State, info.ReplayOf, "the outbox at the end"})
	}
	r.book.readAcks()
	client := r.pair.client()
	defer client.Close()
	v.streams = map[string][]redistest.StreamEntry{}
	published := map[uint64]bool{}
	for topic, channel := range channels {
		key := relay.StreamKey(channel)
		v.streams[key] = redistest.ReadStream(r.t, client, key)
		for _, e := range v.streams[key] {
			if e.Origin != v.stats.Origin {
				r.find("#%d of %s is in the stream under the origin %s, the outbox has %s", e.Sequence, topic, e.Origin, v.stats.Origin)
			}
			r.book.learn(e.Sequence, fact{topic: topic, id: e.MessageID, by: "the stream"})
			published[e.Sequence] = true
		}
	}
	if v.stats.Epoch != 1 {
		r.find("the outbox took a fresh origin %d times, though no older copy was put back", v.stats.Epoch-1)
	}
	replayed := map[uint64]bool{}
	for _, f := range r.book.facts {
		if f.replayOf != 0 {
			replayed[f.replayOf] = true
		}
	}
	v.excused = map[string]string{}
	for sequence := uint64(1); sequence <= v.stats.LastSequence; sequence++ {
		f, known := r.book.facts[sequence]
		if !known {
			r.find("#%d was appended, and is neither in the outbox nor in a stream", sequence)
			continue
		}
		v.appended, v.sequences = append(v.appended, redistest.Event{Topic: f.topic, MessageID: f.id}), append(v.sequences, sequence)
		reason := ""
		switch {
		case replayed[sequence]:
			reason = redistest.Replayed
		case f.state == outbox.Discarded, f.state == outbox.Parked, f.state == outbox.Unheard:
			reason = string(f.state)
		}
		if f.state == outbox.Parked || replayed[sequence] {
			if !r.book.refused[f.id] {
				r.find("#%d, %s %s, was parked, and Redis takes it", sequence, f.topic, f.id)
			}
		}
		if reason != "" {
			v.excused[f.id] = strings.Trim(v.excused[f.id]+","+reason, ",")
		}
	}
	for sequence, to := range r.book.acked {
		if sequence > v.stats.LastSequence {
			r.find("#%d was acknowledged to %s, and the outbox ends with #%d", sequence, to, v.stats.LastSequence)
		}
	}
	v.readRepeats()
	return true
}

// republished is what a relay logs when it has published events again.
var republished = regexp.MustCompile(`published again what its subscribers may have missed" topic=(\S+) from=(\d+) through=(\d+)`)

// readRepeats finds what relays say that they published again.
func (v *verdict) readRepeats() {
	v.mayRepeat = map[string]bool{}
	for _, p := range v.r.processes {
		log, err := os.ReadFile(p.log)
		if err != nil {
			v.r.find("%v", err)
			continue
		}
		for _, m := range republished.FindAllStringSubmatch(string(log), -1) {
			from, _ := strconv.ParseUint(m[2], 10, 64)
			through, _ := strconv.ParseUint(m[3], 10, 64)
			for sequence := from; sequence <= through; sequence++ {
				if f := v.r.book.facts[sequence]; f.topic == m[1] {
					v.mayRepeat[f.id] = true
				}
			}
		}
	}
}

// checkHistory judges the direct subscriber, the streams and the counters.
func (v *verdict) checkHistory() {
	h := redistest.History{Appended: v.appended, MayRepeat: v.mayRepeat, Excused: v.excused,
		Subscribers: map[string][]redistest.Event{"direct": redistest.Events(v.r.direct.Messages(), topicOf, redistest.EnvelopeID)},
		Streams:     v.streams, Topics: map[string][]string{}, Status: map[string]redistest.TopicCounts{}}
	for topic, channel := range channels {
		h.Topics[relay.StreamKey(channel)] = []string{topic}
	}
	for _, s := range v.stats.Topics {
		h.Status[s.Topic] = redistest.TopicCounts{Appended: s.Appended, Pending: s.Pending, Delivered: s.Delivered,
			Unheard: s.Unheard, Parked: s.Parked, Discarded: s.Discarded, Replayed: s.Replayed}
		if s.Unheard > 0 || s.Pending > 0 {
			v.r.find("%s: %d unheard, %d pending", s.Topic, s.Unheard, s.Pending)
		}
	}
	v.report(h.Check())
}

// mostTold is how many findings of a kind are told.
const mostTold = 20

func (v *verdict) report(findings []redistest.Finding) {
	for i, f := range findings {
		if i == mostTold {
			v.r.find("and %d more", len(findings)-i)
			return
		}
		sequence := uint64(0)
		for s, known := range v.r.book.facts {
			if known.id == f.MessageID {
				sequence = max(sequence, s)
			}
		}
		v.r.find("%s (#%d)", f, sequence)
	}
}

// checkConnections judges a subscriber that loses its connection: what is published in between is lost to it, but on each
// connection it misses nothing.
func (v *verdict) checkConnections(name string, sub *redistest.Subscriber) {
	type place struct {
		topic      string
		connection int
	}
	received := map[place][]redistest.Event{}
	for _, m := range sub.Messages() {
		e := redistest.Events([]redistest.Message{m}, topicOf, redistest.EnvelopeID)[0]
		p := place{e.Topic, m.Connection}
		if len(received[p]) == 0 && v.mayRepeat[e.MessageID] {
			continue // it may have come in the middle of what is published again
		}
		received[p] = append(received[p], e)
	}
	logs, at := map[string][]redistest.Event{}, map[redistest.Event][]int{}
	for _, e := range v.appended {
		at[e] = append(at[e], len(logs[e.Topic]))
		logs[e.Topic] = append(logs[e.Topic], e)
	}
	for p, events := range received {
		first, last := len(logs[p.topic]), 0
		for _, e := range events {
			for _, i := range at[e] {
				first, last = min(first, i), max(last, i)
			}
		}
		if len(at[events[0]]) == 1 {
			first = at[events[0]][0]
		}
		appended := logs[p.topic][min(first, last) : last+1]
		h := redistest.History{Appended: appended, MayRepeat: v.mayRepeat, Excused: within(v.excused, appended),
			Subscribers: map[string][]redistest.Event{fmt.Sprintf("%s, connection %d", name, p.connection): events}}
		v.report(h.Check())
	}
}

// within are the excuses of a part of what was appended.
func within(excused map[string]string, appended []redistest.Event) map[string]string {
	count := map[string]int{}
	for _, e := range appended {
		count[e.MessageID]++
	}
	part := map[string]string{}
	for id, reasons := range excused {
		if list := strings.Split(reasons, ","); count[id] > 0 {
			part[id] = strings.Join(list[:min(len(list), count[id])], ",")
		}
	}
	return part
}

// checkConsumer compares what a consumer was given with the stream: each event once, in order, but for the one at which it
// was killed.
func (v *verdict) checkConsumer(topic string) {
	text, err := os.ReadFile(filepath.Join(v.r.logs, handledFile(topic)))
	if err != nil {
		v.r.find("%v", err)
		return
	}
	var given []string
	repeats := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if len(given) > 0 && given[len(given)-1] == line {
			repeats++
			continue
		}
		given = append(given, line)
	}
	if repeats > v.r.consumer.kills {
		v.r.find("the consumer was given %d events of %s twice, and was killed %d times", repeats, topic, v.r.consumer.kills)
	}
	var want []string
	for _, e := range v.streams[relay.StreamKey(channels[topic])] {
		want = append(want, fmt.Sprintf("%d %s", e.Sequence, e.MessageID))
	}
	if slices.Equal(given, want) {
		return
	}
	for i := range max(len(given), len(want)) {
		if i >= len(given) || i >= len(want) || given[i] != want[i] {
			v.r.find("the consumer was given %v of %s, the stream has %v (from event %d on)", given[i:min(i+3, len(given))], topic, want[i:min(i+3, len(want))], i)
			return
		}
	}
}

// checkWorker compares a worker's own state with the events that it appended in the same transactions.
func (v *verdict) checkWorker(box *outbox.Outbox) {
	state := map[uint64]string{}
	err := box.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(workerState)
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, id []byte) error {
			state[binary.BigEndian.Uint64(k)] = string(id)
			return nil
		})
	})
	if err != nil {
		v.r.find("%v", err)
	}
	oldest := v.stats.LastSequence + 1
	for sequence, id := range state {
		oldest = min(oldest, sequence)
		if f := v.r.book.facts[sequence]; f.id != id {
			v.r.find("a worker's state has %s at #%d, the outbox %q", id, sequence, f.id)
		}
	}
	for sequence, f := range v.r.book.facts {
		if f.by == "a worker" && sequence >= oldest && state[sequence] != f.id {
			v.r.find("#%d was acknowledged to a worker, and is not in its state", sequence)
		}
	}
}

// checkLogs looks for what no process may say.
func (r *rig) checkLogs() {
	for _, p := range r.processes {
		log, err := os.ReadFile(p.log)
		if err != nil {
			r.find("%v", err)
			continue
		}
		for _, word := range []string{"panic:", "fatal error:", "DATA RACE", "level=ERROR msg=\"cannot append"} {
			if strings.Contains(string(log), word) {
				r.find("%s: %q; see %s", p.name, word, p.log)
			}
		}
	}
}
