package simulation

import (
	"context"
	"slices"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
)

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
	quiet := w.flying == 0 && (w.paused && time.Since(w.pausedAt) > 2*callLimit(1<<20) ||
		!w.server.up && time.Since(w.downAt) > time.Minute)
	for _, info := range list {
		_, now, err := p.box.Get(context.Background(), info.Sequence)
		if err == nil && now.State == outbox.Discarded && slices.Contains(chosen, info.Sequence) {
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
		again := outbox.Event{Topic: e.Topic, MessageID: e.MessageID, Snapshot: e.Snapshot, Payload: e.Payload}
		w.record(again, sequence, e.ReplayOf, w.poison[e.MessageID])
		w.checkStale(e)
	}
}
