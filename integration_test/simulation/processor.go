package simulation

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	bolt "go.etcd.io/bbolt"
)

// stateBucket is what the processor itself keeps: how many updates it has made.
var stateBucket, stateKey = []byte("processor"), []byte("updates")

// append is a transaction of the processor: its state, and events that follow from it.
func (w *world) append(topic string, n, bytes int, poison bool) {
	p := w.process
	if p == nil {
		return
	}
	var batch []outbox.Event
	for range n {
		batch = append(batch, w.event(topic, bytes))
	}
	var sequences []uint64
	err := p.box.Update(context.Background(), func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(stateBucket)
		if err == nil {
			err = b.Put(stateKey, binary.BigEndian.AppendUint64(nil, uint64(w.updates+1)))
		}
		if err == nil {
			sequences, err = p.box.Append(tx, batch...)
		}
		return err
	})
	if err != nil {
		w.trace("append: %v", err)
		switch {
		case errors.Is(err, outbox.ErrFull):
			w.checkFull(batch)
		case !w.isDiskFull(err):
			w.violate("append: %v", err)
		}
		for _, e := range batch {
			w.refused[e.MessageID] = true
		}
		w.checkState() // that of the processor has not changed either
		return
	}
	w.updates++
	for i, e := range batch {
		w.record(e, sequences[i], 0, poison)
	}
	w.trace("appended %s %v", topic, sequences)
}

// isDiskFull says whether an error comes from the disk, while that is full.
func (w *world) isDiskFull(err error) bool { return w.diskFull && errors.Is(err, outbox.ErrDiskFull) }

// secret must never be logged.
const secret = "SECRET-PAYLOAD"

// event makes an event of a topic.
func (w *world) event(topic string, bytes int) outbox.Event {
	w.made++
	id := fmt.Sprintf("%s-%d", topic[:1], w.made)
	payload := id + " " + secret + strings.Repeat(" ", max(0, bytes-len(id)-len(secret)))
	return outbox.Event{Topic: topic, MessageID: id, Payload: []byte(payload), Snapshot: topic == updates, Urgent: topic == alerts}
}

// alert makes the event of an alert of the relay.
func (w *world) alert(a relay.Alert) outbox.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alerted[a.Kind]++
	w.reportedAt[a.Kind] = time.Now()
	w.trace("alert %s %s", a.Kind, a.Message)
	if a.Kind == "redis_amnesia" && !w.server.lost(channelOf(a.Topic)) {
		w.violate("Redis is said to have forgotten something of %s, and it has not", a.Topic)
	}
	if strings.Contains(a.Message, secret) {
		w.violate("an alert shows a payload")
	}
	return w.event(alerts, 100)
}
