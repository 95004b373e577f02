package simulation

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/relay/control"
)

// pause pauses the relay for a while; some is discarded meanwhile.
func (w *world) pause(a Args) {
	p := w.process
	if p == nil || p.waiting || w.paused {
		return
	}
	w.paused = true
	discard := func() {
		if percent := a.number("discard"); percent > 0 {
			w.after(a.duration("for")/2, func() { w.discard(a.with("percent", strconv.Itoa(percent))) })
		}
	}
	if !w.apart() {
		d := p.relay
		d.relay.Pause()
		discard()
		w.after(a.duration("for"), func() {
			if w.process == p && p.relay == d {
				w.paused = false
			}
			d.relay.Resume()
		})
		return
	}
	w.ask(p, (*control.Client).Pause, func(err error) {
		if err != nil { // it may be paused all the same, now or later
			w.resume(p)
			return
		}
		w.pausedAt = time.Now()
		discard()
		w.after(a.duration("for"), func() { w.resume(p) })
	})
}

// resume ends a pause, however often it has to be asked for.
func (w *world) resume(p *process) {
	if !w.apart() {
		p.relay.relay.Resume()
		w.paused = false
		return
	}
	w.ask(p, (*control.Client).Resume, func(err error) {
		switch {
		case w.process != p: // a pause ends with the process
		case err == nil, errors.Is(err, control.ErrNoRelay): // the next one is not paused
			w.paused = false
		default:
			w.after(5*time.Second, func() { w.resume(p) })
		}
	})
}

func (w *world) retryNow(Args) {
	switch p := w.process; {
	case p == nil:
	case w.apart():
		w.ask(p, (*control.Client).RetryNow, func(error) {})
	default:
		p.relay.relay.RetryNow()
	}
}

// ask asks something of the relay over the control socket.
func (w *world) ask(p *process, what func(*control.Client, context.Context) (relay.Health, error), then func(error)) {
	w.timers++
	go func() {
		client := control.NewClient("in memory", w.desk.dial)
		_, err := what(client, context.Background())
		_ = client.Close() // never fails
		w.mu.Lock()
		defer w.mu.Unlock()
		w.timers--
		w.trace("asked of the relay: %v", err)
		then(err)
		w.note()
	}()
}

// healthOf is that of a topic, as the relay that drains says.
func (w *world) healthOf(p *process, topic string) relay.TopicHealth {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.relay == nil {
		return relay.TopicHealth{State: relay.NotRunning}
	}
	return p.relay.relay.Health().Topics[topic]
}

// discard gives up some of the pending and parked events.
func (w *world) discard(a Args) {
	p := w.process
	if p == nil {
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
	w.discardThese(p, chosen)
}

// discardThese gives up events.
func (w *world) discardThese(p *process, chosen []uint64) {
	before := map[uint64]outbox.State{}
	for _, sequence := range chosen {
		if _, info, err := p.box.Get(context.Background(), sequence); err == nil {
			before[sequence] = info.State
		}
	}
	result, err := p.box.Discard(context.Background(), chosen, outbox.DiscardOptions{Actor: "simulation", Reason: "drawn"})
	w.trace("discarded %v: %+v %v", chosen, result, err)
	if err != nil && !w.isDiskFull(err) {
		w.violate("discard: %v", err)
		return
	}
	// What is in flight may be published still.
	quiet := w.flying == 0 && (w.paused && time.Since(w.pausedAt) > 2*callLimit(1<<20) ||
		!w.server.up && time.Since(w.downAt) > time.Minute)
	for _, sequence := range chosen {
		_, now, getErr := p.box.Get(context.Background(), sequence)
		if err != nil && now.State != before[sequence] {
			w.violate("#%d was %s, and is %s after a discard that failed: %v", sequence, before[sequence], now.State, err)
		}
		if err == nil && getErr == nil && now.State == outbox.Discarded {
			w.giveUp(sequence, now.MessageID)
			if quiet {
				w.silenced[entry{now.MessageID, sequence}] = time.Now()
			}
		}
	}
}

// blockedAt is the poison that a topic waits at by design, 0 when there is none.
func (w *world) blockedAt(topic string) (sequence uint64) {
	if w.schedule.Settings.text("poison") != "block" {
		return 0
	}
	for _, e := range w.events {
		if e.topic == topic && e.poison && w.discarded[e.sequence] == "" {
			return e.sequence
		}
	}
	return 0
}

// unblock discards the poison that topics are blocked at, and says whether there was any.
func (w *world) unblock(p *process) (any bool) {
	for _, topic := range topics {
		if w.healthOf(p, topic).State != relay.Blocked {
			continue
		}
		w.mu.Lock()
		list, err := p.box.List(context.Background(), outbox.Filter{Topic: topic, State: outbox.Pending, Limit: 1})
		if err != nil {
			w.violate("list: %v", err)
		}
		for _, first := range list {
			if w.poison[first.MessageID] {
				any = true
				w.discardThese(p, []uint64{first.Sequence})
			}
		}
		w.mu.Unlock()
	}
	return any
}

// replay appends again what is parked or was not heard.
func (w *world) replay(Args) {
	p := w.process
	if p == nil {
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
	if w.isDiskFull(err) && len(result.Sequences) > 0 {
		w.violate("replay: %v, and %v were appended", err, result.Sequences)
	}
	for _, sequence := range result.Sequences {
		e, _, err := p.box.Get(context.Background(), sequence)
		if err != nil {
			w.violate("replayed as #%d: %v", sequence, err)
			continue
		}
		again := outbox.Event{Topic: e.Topic, MessageID: e.MessageID, Snapshot: e.Snapshot, Payload: e.Payload}
		w.record(again, sequence, e.ReplayOf, w.poison[e.MessageID])
		w.checkStale(e)
	}
}
