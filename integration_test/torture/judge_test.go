package torture

import (
	"cmp"
	"context"
	"os"
	"regexp"
	"strconv"
	"strings"

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
	v.checkOnce("direct", r.direct)
	for name, sub := range r.others {
		v.checkOnce(name, sub)
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
	// Each replay names the first event that it repeats: all of them but the newest were replayed in turn.
	newest := map[uint64]uint64{}
	for sequence, f := range r.book.facts {
		if f.replayOf != 0 {
			newest[f.replayOf] = max(newest[f.replayOf], sequence)
		}
	}
	replayed := map[uint64]bool{}
	for sequence, f := range r.book.facts {
		if last, ok := newest[cmp.Or(f.replayOf, sequence)]; ok && sequence != last {
			replayed[sequence] = true
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
	v.boundRepeats()
	return true
}

// republished is what a relay logs when it has published events again.
var republished = regexp.MustCompile(`published again what its subscribers may have missed" topic=(\S+) from=(\d+) through=(\d+)`)

// readRepeats finds what relays say that they published again. It may come again when it was in the tail, see boundRepeats.
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

// checkLogs looks for what no process may say.
func (r *rig) checkLogs() {
	for _, p := range r.processes {
		log, err := os.ReadFile(p.log)
		if err != nil {
			r.find("%v", err)
			continue
		}
		for _, word := range []string{"panic:", "fatal error:", "DATA RACE"} {
			if strings.Contains(string(log), word) {
				r.find("%s: %q; see %s", p.name, word, p.log)
			}
		}
	}
}
