package torture

import (
	"sync"
	"syscall"
	"time"
)

// behind is how late an action may begin; one that would be later is left out, with the one that ends it. On a machine that is
// slow, or busy, less happens.
const behind = 10 * time.Second

// play does what a plan says: each actor its own actions, at their time or as soon as it is done with those before. It says
// whether all came to an end.
func (r *rig) play(actions []action, length time.Duration) bool {
	lanes := map[string][]action{}
	for _, a := range actions {
		lanes[a.actor] = append(lanes[a.actor], a)
	}
	began := *r.began.Load()
	var all sync.WaitGroup
	var under sync.Map // what each actor does now
	for actor, lane := range lanes {
		do := map[string]func(action){theRedis: r.onRedis, theProcessor: r.onProcessor, theVeteran: r.on(r.veteran), theRelay: r.on(r.relay),
			theConsumer: r.on(r.consumer), theNetwork: onNetwork(r.network), theRemote: onNetwork(r.remote), theDisk: r.onDisk,
			theClock: r.onClock, theOperator: r.onOperator, theKeeper: r.onKeeper, theWhole: r.onWhole,
			theFlaky: func(action) { r.others[theFlaky].Cut() }}[actor]
		all.Go(func() {
			leftOut := false
			for _, a := range lane {
				<-time.After(time.Until(began.Add(a.at)))
				if !a.ends {
					leftOut = time.Since(began) > a.at+behind
				}
				if leftOut {
					r.late.Add(1)
					continue
				}
				r.note("%s: %s %s", a.actor, a.what, a.arg)
				under.Store(actor, a)
				do(a)
			}
			under.Delete(actor)
		})
	}
	ended := make(chan struct{})
	go func() {
		all.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return true
	case <-time.After(time.Until(began.Add(length + patience))):
		under.Range(func(_, a any) bool {
			r.find("an action does not come to an end: %v", a)
			return true
		})
		return false
	}
}

// on does what can be done to a process.
func (r *rig) on(p *process) func(action) {
	return func(a action) {
		switch a.what {
		case "kill":
			p.kill()
		case "end":
			p.end()
		case "start":
			p.start()
		case "stop":
			p.signal(syscall.SIGSTOP)
		case "go on":
			p.signal(syscall.SIGCONT)
		}
	}
}

func (r *rig) onProcessor(a action) {
	if a.what == "start" {
		r.processor.start(r.kind(a.arg)...)
		return
	}
	r.on(r.processor)(a)
}

// kind is the command of a kind of processor.
func (r *rig) kind(name string) []string {
	switch name {
	case workerRelays:
		return []string{r.self, roleRelay}
	case workerNoRelay:
		return []string{r.self, roleWork}
	}
	command := []string{r.program, "run", "--source", r.list()}
	if name == runsNoRelay {
		command = append(command, "--no-relay")
	}
	return command
}

type network interface {
	Reset()
	CutReplies()
	HalfOpen()
	Latency(d, jitter time.Duration)
	Throttle(bytesPerSecond int)
	Heal()
}

func onNetwork(n network) func(action) {
	return func(a action) {
		switch a.what {
		case "reset":
			n.Reset()
		case "cut replies":
			n.CutReplies()
		case "half open":
			n.HalfOpen()
		case "latency":
			n.Latency(100*time.Millisecond, 50*time.Millisecond)
		case "throttle":
			n.Throttle(50_000)
		case "heal":
			n.Heal()
		}
	}
}
