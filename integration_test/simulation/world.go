package simulation

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
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

// world is one run. mu guards all of it but what says otherwise: goroutines take turns in virtual time, and mu says so to the race
// detector.
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
	relays   int // that were

	lineage
	facts

	telling    sync.Mutex // for what is traced while another goroutine has mu
	violations []string   // guarded by telling
	lines      []string   // guarded by telling: the trace, when it is wanted
	tracing    bool
}

// process is one life of the processor, with the file that it has open and the relay that drains it.
type process struct {
	number  int
	path    string
	box     *outbox.Outbox
	relay   *drain // the one that has the right to drain the outbox
	waiting bool   // that one has ended, and another one will begin
}

// drain is one life of a relay.
type drain struct {
	number     int
	relay      *relay.Relay
	stop       context.CancelFunc
	ended      chan struct{} // closed when Relay.Run has returned
	dead       chan struct{} // closed when it has lost the right to drain: its process was killed, or another relay has it
	connection string        // to which run of Redis
	lanes      lanes
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

// copied is an outbox file as it was once.
type copied struct {
	file    string
	lineage lineage
	at      time.Time
	origin  string
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
	if err := warmUp(dir); err != nil {
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

// warmUp makes what the outbox makes once for the whole process, the compressor's channels above all: what is made within a bubble cannot be
// used in another one.
func warmUp(dir string) error {
	box, err := outbox.Open(filepath.Join(dir, "warm-up.db"), outbox.Options{})
	if err != nil {
		return err
	}
	_, err = box.Add(context.Background(), outbox.Event{Topic: updates, MessageID: "warm-up", Payload: make([]byte, 64<<10)})
	if err == nil {
		_, err = box.Read(context.Background(), outbox.Range{Topic: updates, Events: 1})
	}
	return errors.Join(err, box.Close())
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
	for _, c := range clients {
		c.from = time.Now()
	}
	w.initFacts()
	w.boot()
	w.note()
}

// boot starts a process on the file as it is.
func (w *world) boot() {
	w.number++
	p := &process{number: w.number, path: filepath.Join(w.dir, fmt.Sprint("outbox-", w.number, ".db"))}
	if w.file != "" {
		if err := os.Rename(w.file, p.path); err != nil {
			w.violate("the simulation: %v", err)
			return
		}
	}
	s := w.schedule.Settings
	box, err := outbox.Open(p.path, outbox.Options{Retention: s.duration("retention"), MaxBytes: int64(s.number("maxbytes"))})
	if err != nil {
		w.violate("the file that a process left behind cannot be opened: %v", err)
		return
	}
	p.box, w.process, w.paused, w.booting = box, p, false, false
	w.checkState()
	w.startRelay(p)
	w.trace("process %d runs", p.number)
}

// startRelay starts a relay in the process.
func (w *world) startRelay(p *process) {
	s := w.schedule.Settings
	opts := relay.Options{
		Channels: map[string]string{}, MinReceivers: map[string]int{},
		RejoinWait: s.duration("rejoin"), HoldMax: s.duration("holdmax"), HealthInterval: healthInterval,
		Streams: s.text("streams") == "on", StreamMaxLen: s.number("keep"),
		Alert:  func(a relay.Alert) (outbox.Event, error) { return w.alert(a), nil },
		Logger: slog.New(&discreetHandler{w}),
	}
	for _, topic := range topics {
		opts.Channels[topic] = channelOf(topic)
		opts.MinReceivers[topic] = s.number("min." + topic)
	}
	ctx, stop := context.WithCancel(context.Background())
	w.relays++
	// The jitter of its backoff comes from there, and is repeatable where GODEBUG=randseednop=0 is set. How much of it those before have
	// drawn when they died, all their calls failing at one instant, is not.
	//lint:ignore SA1019 it is not our own number that is drawn
	rand.Seed(int64(w.schedule.Seed) + int64(w.relays))
	d := &drain{number: w.relays, stop: stop, ended: make(chan struct{}), dead: make(chan struct{})}
	d.relay = relay.New(source{w, d, p.box}, target{w, d}, opts)
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

// kill ends the process as SIGKILL does: its file stays as it is at this moment.
func (w *world) kill() {
	p := w.process
	if p == nil {
		return
	}
	w.trace("process %d dies", p.number)
	w.file = w.copyFile(p.path)
	p.relay.fence()
	w.process = nil
	go func() {
		<-p.relay.ended
		_ = p.box.Close()
		_ = os.Remove(p.path)
	}()
}

// copyFile copies a file as it is at this moment, without its holes: bbolt makes files far larger than what they hold.
func (w *world) copyFile(path string) (copied string) {
	w.copies++
	copied = filepath.Join(w.dir, fmt.Sprint("copy-", w.copies, ".db"))
	from, err := os.Open(path)
	if err != nil {
		w.violate("the simulation: %v", err)
		return ""
	}
	defer from.Close()
	to, err := os.Create(copied)
	if err == nil {
		err = errors.Join(copySparse(to, from), to.Close())
	}
	if err != nil {
		w.violate("the simulation: %v", err)
	}
	return copied
}

func copySparse(to, from *os.File) error {
	size, err := from.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	for end := int64(0); ; {
		begin, err := from.Seek(end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // no more
			return to.Truncate(size)
		}
		if err == nil {
			end, err = from.Seek(begin, unix.SEEK_HOLE)
		}
		if err == nil {
			_, err = from.Seek(begin, io.SeekStart)
		}
		if err == nil {
			_, err = to.Seek(begin, io.SeekStart)
		}
		if err == nil {
			_, err = io.CopyN(to, from, end-begin)
		}
		if err != nil {
			return err
		}
	}
}

// bootAfter starts the process again some time after it has died.
func (w *world) bootAfter(d time.Duration) {
	if w.booting {
		return
	}
	w.booting = true
	w.after(d, func() {
		if w.process == nil {
			w.boot()
		}
	})
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

// stepped counts the calls of the outbox down to the death of the process.
func (w *world) stepped() {
	if w.dieIn > 0 {
		if w.dieIn--; w.dieIn == 0 {
			w.kill()
			w.bootAfter(w.dieFor)
			w.note()
		}
	}
}

// executed counts the calls that Redis runs down to its death.
func (w *world) executed() {
	if w.redisIn > 0 {
		if w.redisIn--; w.redisIn == 0 {
			w.killRedis(w.redisFor)
			w.note()
		}
	}
}

// killRedis kills Redis, which is started again some time later.
func (w *world) killRedis(d time.Duration) {
	if !w.server.up {
		return
	}
	w.trace("Redis dies")
	kept := w.server.kill()
	w.startRedis(d, kept)
}

func (w *world) startRedis(d time.Duration, kept store) {
	w.noFaults()
	w.after(d, func() {
		w.server.start(kept)
		w.trace("Redis runs: %s", w.server.run)
	})
}

// stateBucket is what the processor itself keeps: how many updates it has made.
var stateBucket, stateKey = []byte("processor"), []byte("updates")

// append is a transaction of the processor: its state, and events that follow from it.
func (w *world) append(topic string, n, bytes int, poison bool) {
	p := w.process
	if p == nil || w.diskFull {
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
		if !errors.Is(err, outbox.ErrFull) {
			w.violate("append: %v", err)
		} else {
			w.checkFull(batch)
		}
		return
	}
	w.updates++
	for i, e := range batch {
		w.record(e, sequences[i], 0, poison)
	}
	w.trace("appended %s %v", topic, sequences)
}

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
	if strings.Contains(a.Message, secret) {
		w.violate("an alert shows a payload")
	}
	return w.event(alerts, 100)
}

// discreetHandler sees to it that no payload is logged.
type discreetHandler struct{ w *world }

func (h *discreetHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *discreetHandler) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += " " + a.String()
		return true
	})
	h.w.trace("log: %s", text)
	if strings.Contains(text, secret) {
		h.w.violate("a payload is logged: %s", r.Message)
	}
	return nil
}

func (h *discreetHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h *discreetHandler) WithGroup(string) slog.Handler { return h }
