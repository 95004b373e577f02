package simulation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/relay/control"
)

// relayProcess is a relay in a process of its own. It drains over the control socket whenever it has the lease, and stands by
// otherwise.
type relayProcess struct {
	w    *world
	name string
	link *link

	life context.Context // guarded by world.mu, as are all that follow; it ends as by SIGTERM
	stop context.CancelFunc
	down bool          // it is to be started again
	dead bool          // it was killed
	over chan struct{} // closed when the life has ended
	here *drain        // nil while it stands by
	hung chan struct{} // closed when it goes on; nil: it does not hang
	mute bool          // its link is silent
}

// lookAgain is how soon a relay looks for the control socket again.
const lookAgain = 250 * time.Millisecond

// apart says whether relays have processes of their own.
func (w *world) apart() bool { return w.schedule.Settings.text("relay") == "socket" }

// serve serves the control socket of a process.
func (w *world) serve(p *process) {
	ctx, stop := context.WithCancel(context.Background())
	p.socket, p.stop, p.served, p.waiting = newSocket(), stop, make(chan struct{}), true
	opts := control.Options{Outbox: p.box, Listener: p.socket, Lease: w.schedule.Settings.duration("lease"),
		Logger: slog.New(&discreetHandler{w})}
	go func() {
		if err := control.Serve(ctx, opts); err != nil {
			w.violate("the control socket: %v", err)
		}
		close(p.served)
	}()
}

// unplug closes the connections of a process that dies.
func (w *world) unplug(p *process) {
	links := []*link{w.desk}
	for _, r := range w.standing {
		links = append(links, r.link)
	}
	for _, l := range links {
		l.shut(func(e *end) bool { return e.process == p })
	}
}

// standUp starts the relay processes.
func (w *world) standUp() {
	w.desk = &link{w: w}
	for i := range max(1, w.schedule.Settings.number("relays")) {
		r := &relayProcess{w: w, name: fmt.Sprint("relay-", i), link: &link{w: w}}
		w.standing = append(w.standing, r)
		r.start()
	}
}

// relayProcess is the one that a step is about: the one that drains, unless the step says who.
func (w *world) relayProcess(a Args) *relayProcess {
	if p := w.process; a.text("who") == "" && p != nil && p.relay != nil {
		return p.relay.home
	}
	return w.standing[a.number("who")%len(w.standing)]
}

func (r *relayProcess) start() {
	r.w.trace("%s runs", r.name)
	r.life, r.stop = context.WithCancel(context.Background())
	r.goOn()
	r.down, r.dead, r.mute, r.over = false, false, false, make(chan struct{})
	r.link = &link{w: r.w}
	go r.run(r.life, r.link, r.over)
}

// run is one life.
func (r *relayProcess) run(life context.Context, link *link, over chan struct{}) {
	defer close(over)
	client := control.NewClient("in memory", link.dial)
	defer client.Close()
	for life.Err() == nil {
		sleep(life, lookAgain+r.w.noise.between(r.name, 0, time.Millisecond))
		r.w.mu.Lock()
		served := r.w.process != nil
		r.w.mu.Unlock()
		if !served {
			continue
		}
		var d *drain
		err := client.Relay(life, func(source relay.Source) *relay.Relay {
			d = r.begin(link, source)
			return d.relay
		}, nil)
		r.end(d, err)
	}
}

// begin is called when it has the lease.
func (r *relayProcess) begin(link *link, source relay.Source) *drain {
	w := r.w
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.newDrain(source, r.stop, r)
	r.here = d
	w.trace("%s drains", r.name)
	if p := w.process; p != nil && p.hasLent(link) {
		p.relay = d
		w.attend()
	}
	return d
}

// hasLent says whether the process has given its latest lease to a link.
func (p *process) hasLent(to *link) bool {
	to.w.wires.Lock()
	defer to.w.wires.Unlock()
	return p.lease != 0 && p.lease == to.leased
}

// end is called when a relay has ended; d is nil when there was none.
func (r *relayProcess) end(d *drain, err error) {
	w := r.w
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trace("%s drains no more: %v", r.name, err)
	gone := errors.Is(err, control.ErrLeaseLost) || errors.Is(err, control.ErrNotRunning) || errors.Is(err, outbox.ErrClosed)
	if err != nil && !gone && !r.dead {
		w.violate("%s has ended by itself: %v", r.name, err)
	}
	if d == nil {
		return
	}
	if r.here == d {
		r.here = nil
	}
	if p := w.process; p != nil && p.relay == d {
		p.relay = nil
	}
	w.attend()
}

// attend takes note of whether a relay is at work.
func (w *world) attend() {
	if p := w.process; p != nil && w.apart() {
		p.waiting = p.relay == nil || p.relay.home.hung != nil || p.relay.home.mute
		w.note()
	}
}

// kill ends the process as SIGKILL does, and starts it again some time later. What it has sent is on its way.
func (r *relayProcess) kill(d time.Duration) {
	if r.down {
		return
	}
	r.w.trace("%s dies", r.name)
	r.down, r.dead = true, true
	r.goOn()
	if r.here != nil {
		r.here.fence()
	}
	r.stop()
	r.link.silence(false)
	r.mute = false
	r.link.shut(func(e *end) bool { return e.process == nil })
	r.again(d)
}

// leave ends the process as SIGTERM does, and starts it again some time later.
func (r *relayProcess) leave(d time.Duration) {
	if !r.down {
		r.w.trace("%s stops", r.name)
		r.down = true
		r.stop()
		r.again(d)
	}
}

// again starts the process once it has ended, and some time has passed.
func (r *relayProcess) again(d time.Duration) {
	over := r.over
	r.w.timers++
	go func() {
		<-over
		r.w.mu.Lock()
		defer r.w.mu.Unlock()
		r.w.timers--
		r.w.after(d, func() { r.start() })
	}()
}

// hang stops the process for a while, with all that it has under way.
func (r *relayProcess) hang(d time.Duration) {
	if r.hung != nil || r.down {
		return
	}
	r.w.trace("%s hangs", r.name)
	hung := make(chan struct{})
	r.hung = hung
	r.silent(d)
	r.w.after(d, func() {
		if r.hung == hung {
			r.goOn()
		}
	})
}

func (r *relayProcess) goOn() {
	if r.hung != nil {
		close(r.hung)
		r.hung = nil
		r.w.attend()
	}
}

// silent has nothing arrive over its link for a while, on either side; then all that was written does.
func (r *relayProcess) silent(d time.Duration) {
	if r.mute || r.down {
		return
	}
	r.w.trace("nothing comes through to %s", r.name)
	r.mute = true
	link := r.link
	link.silence(true)
	r.w.attend()
	r.w.after(d, func() {
		r.w.trace("%s is heard of again", r.name)
		link.silence(false)
		if r.link == link {
			r.mute = false
		}
		r.w.attend()
	})
}

// endRelays ends whatever drains, and serving the socket, as SIGTERM does. p may be nil.
func (w *world) endRelays(p *process) {
	if !w.apart() {
		if p != nil {
			p.relay.stop()
			<-p.relay.ended
		}
		return
	}
	for _, r := range w.standing {
		w.mu.Lock()
		r.goOn()
		r.stop()
		over := r.over
		w.mu.Unlock()
		<-over
	}
	if p != nil {
		p.stop()
		<-p.served
	}
}

// awake returns when the process that the relay is in does not hang.
func (d *drain) awake() {
	if d.home == nil {
		return
	}
	for {
		d.home.w.mu.Lock()
		hung := d.home.hung
		d.home.w.mu.Unlock()
		if hung == nil || d.isDead() {
			return
		}
		select {
		case <-hung:
		case <-d.dead:
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
