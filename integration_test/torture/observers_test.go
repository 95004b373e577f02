package torture

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// checkOnce holds that an event is published once while a Redis process lives, whatever relays say that they published again: on
// one connection it comes once.
func (v *verdict) checkOnce(name string, sub *redistest.Subscriber) {
	appends, arrived := map[string]int{}, map[string]int{}
	for _, e := range v.appended {
		appends[e.MessageID]++
	}
	connection, wrong := 0, 0
	for _, m := range sub.Messages() {
		if m.Connection != connection {
			clear(arrived)
			connection = m.Connection
		}
		id := redistest.EnvelopeID(m.Payload)
		if arrived[id]++; arrived[id] > max(1, appends[id]) {
			if wrong++; wrong <= mostTold {
				v.r.find("%s received %s %s more than once from one process of Redis, over connection %d", name, topicOf[m.Channel], id, connection)
			}
		}
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
