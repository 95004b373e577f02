package simulation

import (
	"context"
	"errors"
	"log/slog"
	"math/rand"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// drain is one life of a relay.
type drain struct {
	number     int
	relay      *relay.Relay
	stop       context.CancelFunc
	ended      chan struct{} // closed when Relay.Run has returned
	dead       chan struct{} // closed when it has lost the right to drain: its process was killed, or another relay has it
	connection string        // to which run of Redis
	lanes      lanes
	home       *relayProcess // that it runs in; nil: in the processor's
}

func (d *drain) isDead() bool {
	select {
	case <-d.dead:
		return true
	default:
		return false
	}
}

// fence ends what a relay does at once; what it has sent to Redis is on its way.
func (d *drain) fence() {
	if !d.isDead() {
		close(d.dead)
		d.stop()
	}
}

// newDrain begins the life of a relay that drains an outbox.
func (w *world) newDrain(from relay.Source, stop context.CancelFunc, home *relayProcess) *drain {
	w.relays++
	// The jitter of its backoff comes from there, and is repeatable where GODEBUG=randseednop=0 is set. How much of it those
	// before have drawn when they died, all their calls failing at one instant, is not.
	//lint:ignore SA1019 it is not our own number that is drawn
	rand.Seed(int64(w.schedule.Seed) + int64(w.relays))
	d := &drain{number: w.relays, stop: stop, ended: make(chan struct{}), dead: make(chan struct{}), home: home}
	d.relay = relay.New(source{w, d, from}, target{w, d}, w.relayOptions())
	return d
}

func (w *world) relayOptions() relay.Options {
	s := w.schedule.Settings
	opts := relay.Options{
		Channels: map[string]string{}, MinReceivers: map[string]int{},
		RejoinWait: s.duration("rejoin"), HoldMax: s.duration("holdmax"), HealthInterval: healthInterval,
		Streams: s.text("streams") == "on", StreamMaxLen: s.number("keep"), StreamMaxUnread: s.number("unread"),
		BlockOnPoison: s.text("poison") == "block", MaxRetries: s.number("retries"), MaxBuffer: s.number("buffer"),
		BytesPerSecond: s.number("pace"), WaitReplicas: s.number("replicas"), WaitTimeout: s.duration("wait"),
		Alert:  func(a relay.Alert) (outbox.Event, error) { return w.alert(a), nil },
		Logger: slog.New(&discreetHandler{w}),
	}
	for _, topic := range topics {
		opts.Channels[topic] = channelOf(topic)
		opts.MinReceivers[topic] = s.number("min." + topic)
	}
	return opts
}

// startRelay starts a relay in the process.
func (w *world) startRelay(p *process) {
	ctx, stop := context.WithCancel(context.Background())
	d := w.newDrain(p.box, stop, nil)
	p.relay, p.waiting = d, false
	go func() {
		err := d.relay.Run(ctx)
		w.mu.Lock()
		defer w.mu.Unlock()
		if err != nil && !d.isDead() && !errors.Is(err, outbox.ErrClosed) {
			w.violate("the relay has ended by itself: %v", err)
		}
		close(d.ended)
	}()
}

// restartRelay ends the relay as SIGTERM does, but not the process that has the file, and starts another one.
func (w *world) restartRelay(a Args) {
	if w.apart() {
		w.relayProcess(a).leave(a.duration("for"))
		return
	}
	p := w.process
	if p == nil || p.waiting {
		return
	}
	p.waiting = true
	w.timers++
	p.relay.stop()
	go func() {
		<-p.relay.ended
		w.mu.Lock()
		defer w.mu.Unlock()
		w.timers--
		w.after(a.duration("for"), func() { w.nextRelay(p) })
	}()
}

func (w *world) nextRelay(p *process) {
	if w.process == p {
		w.paused = false
		w.startRelay(p)
	}
}

// handOver gives the right to drain to another relay, as when nothing has been heard of the one before: that may be at
// anything, and what it has sent to Redis may arrive when the next one is at work.
func (w *world) handOver(a Args) {
	if w.apart() {
		w.relayProcess(a).kill(0)
		return
	}
	if p := w.process; p != nil && !p.waiting {
		p.waiting = true
		p.relay.fence()
		w.after(0, func() { w.nextRelay(p) })
	}
}
