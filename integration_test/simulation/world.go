package simulation

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/PitchConnect/matchrelay/integration_test/bubble"
)

// The topics of every run, and their channels. Updates are snapshots of the state; alerts are what the relay itself appends.
const (
	updates = "match_updates"
	status  = "processing_status"
	alerts  = "system_alert"
)

var topics = []string{updates, status, alerts}

func channelOf(topic string) string { return "sim:" + topic }

func topicOf(channel string) string { return strings.TrimPrefix(channel, "sim:") }

// healthInterval is that of the relay; longer than the default would only make runs dull.
const healthInterval = 30 * time.Second

// world is one run. mu guards all of it but what says otherwise: goroutines take turns in virtual time, and mu says so to the
// race detector.
type world struct {
	schedule Schedule
	dir      string
	noise    *noise
	began    time.Time
	over     chan struct{} // closed when the run has ended

	mu       sync.Mutex
	server   *server
	net      network
	process  *process // nil while it is down
	booting  bool
	diskFull bool
	paused   bool   // the relay is, and one that is started again is not
	file     string // that the next process begins with; "": it makes one
	copies   int    // of files, ever
	backup   *copied
	dieIn    int // the process dies at this many calls of its outbox from now; 0: it does not
	dieFor   time.Duration
	redisIn  int // Redis dies when it has run this many calls more
	redisFor time.Duration
	calls    int // to Redis, ever
	flying   int // of those, on their way
	timers   int // things that are still to happen by themselves
	number   int // of processes that were started
	relays   int // that were; the latest is the one that is there in the end
	standing []*relayProcess
	desk     *link // an operator's way to the control socket

	wires sync.Mutex // for connections to the control socket

	lineage
	facts

	telling    sync.Mutex // for what is traced while another goroutine has mu
	violations []string   // guarded by telling
	lines      []string   // guarded by telling: the trace, when it is wanted
	tracing    bool
}

// Result is how a run went.
type Result struct {
	Violations []string
	Trace      []string
	Virtual    time.Duration
	Events     int
	Calls      int
}

// Run runs a schedule and judges it. The trace is kept if it is asked for.
func Run(t *testing.T, s Schedule, dir string, trace bool) (result Result) {
	if err := bubble.WarmUp(dir); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := &world{schedule: s, dir: dir, noise: newNoise(s.Seed), began: time.Now(), over: make(chan struct{}), tracing: trace}
		w.run()
		close(w.over)
		result = Result{Violations: w.violations, Trace: w.lines, Virtual: time.Since(w.began), Events: len(w.events), Calls: w.calls}
	})
	return result
}

func (w *world) trace(format string, args ...any) {
	if w.tracing {
		w.telling.Lock()
		defer w.telling.Unlock()
		w.lines = append(w.lines, fmt.Sprintf("%v ", time.Since(w.began))+fmt.Sprintf(format, args...))
	}
}

// run takes the steps, then ends every fault, waits until all is delivered, and judges.
func (w *world) run() {
	w.prepare()
	for _, step := range w.schedule.Steps {
		w.sleepUntil(w.began.Add(step.At))
		w.mu.Lock()
		w.checkProgress()
		if w.sound() {
			w.trace("-- %v", step)
			verbs[step.Do](w, step.Args)
			w.note()
		}
		w.mu.Unlock()
	}
	w.calm()
	w.end()
	w.judge()
}

// sleepUntil returns at a time, and looks now and then whether anything has come to a stand.
func (w *world) sleepUntil(t time.Time) {
	for time.Until(t) > time.Minute {
		time.Sleep(time.Minute)
		w.mu.Lock()
		w.note()
		w.checkProgress()
		w.mu.Unlock()
	}
	time.Sleep(time.Until(t))
}

func (w *world) prepare() {
	w.mu.Lock()
	defer w.mu.Unlock()
	var clients []*subscriber
	for i, a := range w.schedule.Clients {
		c := &subscriber{name: fmt.Sprint("subscriber-", i), channels: map[string]bool{}, present: true,
			back: a.duration("back"), latency: a.duration("latency"), rate: int64(a.number("rate"))}
		for _, topic := range a.list("topics") {
			c.channels[channelOf(topic)] = true
		}
		clients = append(clients, c)
	}
	w.server = newServer(persistence(w.schedule.Settings.text("persist")), clients, w.trace)
	w.server.replicas.number = w.schedule.Settings.number("replicas")
	for _, c := range clients {
		c.from = time.Now()
	}
	w.initFacts()
	w.boot()
	if w.apart() {
		w.standUp()
	}
	w.note()
}

// after does something later, unless the run is over by then.
func (w *world) after(d time.Duration, do func()) {
	d += w.noise.between("after", 0, time.Millisecond)
	w.timers++
	go func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-w.over:
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.timers--
		do()
		w.note()
	}()
}
