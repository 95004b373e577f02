package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
)

// book notes what was sent, published and received, and judges it in the end.
type book struct {
	mu        sync.Mutex
	sent      map[string][]string  // by topic: message IDs in the order of their sequences
	sequences map[string]uint64    // by message ID
	received  map[string][]string  // by topic: message IDs in order of arrival
	published map[string]time.Time // by message ID: when Redis's answer came
	arrived   map[string]time.Time // by message ID: when the subscriber first got it
	mayRepeat map[string]bool      // by message ID: in the tail of a Redis that was killed
	total     int                  // sent
	changed   chan struct{}        // closed and replaced when anything was received
}

func newBook() *book {
	return &book{sent: map[string][]string{}, sequences: map[string]uint64{}, received: map[string][]string{},
		published: map[string]time.Time{}, arrived: map[string]time.Time{}, mayRepeat: map[string]bool{}, changed: make(chan struct{})}
}

// send notes events of the outbox.
func (b *book) send(events []outbox.Info) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range events {
		b.sent[e.Topic] = append(b.sent[e.Topic], e.MessageID)
		b.sequences[e.MessageID] = e.Sequence
		b.total++
	}
}

// publish notes events that Redis has taken.
func (b *book) publish(_ string, entries []outbox.Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range entries {
		b.published[e.MessageID] = time.Now()
	}
}

// receive notes a message that the subscriber got.
func (b *book) receive(topic, id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.received[topic] = append(b.received[topic], id)
	if _, again := b.arrived[id]; !again {
		b.arrived[id] = time.Now()
	}
	close(b.changed)
	b.changed = make(chan struct{})
}

// waiting counts the events that were sent and not received.
func (b *book) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total - len(b.arrived)
}

// await returns when all of the events were received; false when ctx ends first.
func (b *book) await(ctx context.Context, ids []string) bool {
	for {
		b.mu.Lock()
		missing := slices.ContainsFunc(ids, func(id string) bool { return b.arrived[id].IsZero() })
		changed := b.changed
		b.mu.Unlock()
		if !missing {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// times returns when an event was published and received. The answer to the relay may come after the message itself has
// reached the subscriber: both then count as one.
func (b *book) times(id string) (published, received time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	received, published = b.arrived[id], b.published[id]
	if published.IsZero() || published.After(received) {
		published = received
	}
	return published, received
}

// kill notes that Redis is killed: what it was sent of each topic may come again from the event on that the relay had stored
// as the first one of its tail, just before.
func (b *book) kill(tails map[string]uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for topic, ids := range b.sent {
		for _, id := range ids {
			if b.sequences[id] >= tails[topic] {
				b.mayRepeat[id] = true
			}
		}
	}
}

// verdict is what became of the events of one topic.
type verdict struct {
	Topic      string `json:"topic"`
	Sent       int    `json:"sent"`
	Received   int    `json:"received"` // different ones
	Missing    int    `json:"missing"`
	Repeated   int    `json:"repeated"`
	OutOfOrder int    `json:"out_of_order"`
	Unknown    int    `json:"unknown"`          // never sent
	Again      int    `json:"again_after_kill"` // explained repeats, in order and with the same message ID
}

func (v verdict) good() bool { return v.Missing+v.Repeated+v.OutOfOrder+v.Unknown == 0 }

// judge compares what was sent with what was received.
func (b *book) judge(topics []string) []verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	var verdicts []verdict
	for _, topic := range topics {
		verdicts = append(verdicts, judgeTopic(topic, b.sent[topic], b.received[topic], b.mayRepeat))
	}
	return verdicts
}

func judgeTopic(topic string, sent, received []string, mayRepeat map[string]bool) verdict {
	v := verdict{Topic: topic, Sent: len(sent)}
	place := map[string]int{}
	for i, id := range sent {
		place[id] = i
	}
	seen := map[string]bool{}
	newest, previous := -1, -1 // of first receipts; of all
	for _, id := range received {
		at, known := place[id]
		switch {
		case !known:
			v.Unknown++
			continue
		case seen[id] && !mayRepeat[id]:
			v.Repeated++
		case seen[id]:
			// Repeats come in one run, in order; the run begins by going back.
			if v.Again > 0 && at < previous {
				v.OutOfOrder++
			}
			v.Again++
		case at < newest:
			v.OutOfOrder++
		default:
			newest = at
		}
		seen[id], previous = true, at
	}
	v.Received = len(seen)
	v.Missing = v.Sent - v.Received
	return v
}
