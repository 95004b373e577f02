package torture

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/relay/control"
)

// play does what a plan says: each actor its own actions, at their time or as soon as it is done with those before.
func (r *rig) play(actions []action) {
	lanes := map[string][]action{}
	for _, a := range actions {
		lanes[a.actor] = append(lanes[a.actor], a)
	}
	var all sync.WaitGroup
	for actor, lane := range lanes {
		do := map[string]func(action){theRedis: r.onRedis, theProcessor: r.onProcessor, theVeteran: r.on(r.veteran), theRelay: r.on(r.relay),
			theConsumer: r.on(r.consumer), theNetwork: onNetwork(r.network), theRemote: onNetwork(r.remote), theDisk: r.onDisk,
			theClock: r.onClock, theOperator: r.onOperator, theKeeper: r.onKeeper, theWhole: r.onWhole,
			theFlaky: func(action) { r.others[theFlaky].Cut() }}[actor]
		all.Go(func() {
			for _, a := range lane {
				<-time.After(time.Until(r.began.Add(a.at)))
				r.note("%s: %s %s", a.actor, a.what, a.arg)
				do(a)
			}
		})
	}
	all.Wait()
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

// onRedis does what can be done to master and replica. A master is started, or replaced, only when the direct subscriber
// has noticed its death: until that is back, no other one connects.
func (r *rig) onRedis(a action) {
	p := r.pair
	switch a.what {
	case "kill":
		r.killMaster()
	case "start":
		p.master.Start()
		p.runs = true
	case "freeze":
		p.master.Freeze()
	case "thaw":
		p.master.Thaw()
	case "kill replica":
		p.replica.Kill()
	case "start replica":
		p.replica.Start()
	case "fail over":
		r.failOver()
	case "rejoin":
		if !p.runs { // it was replaced
			p.replica.Start()
			p.follow(p.replica, p.master)
			p.runs = true
		}
	}
}

func (r *rig) killMaster() {
	r.pair.master.Kill()
	r.pair.deaths++
	r.pair.runs = false
	r.eventually("the direct subscriber notices that Redis is dead", func() string {
		if c, d := r.direct.Connections(), r.direct.Disconnections(); c != d {
			return fmt.Sprint(c, " connections, ", d, " of them broken")
		}
		return ""
	})
}

// failOver kills the master and promotes its replica, if that is in sync: what is over the retention period has been
// replicated then, for the clock jumps at no such moment.
func (r *rig) failOver() {
	p := r.pair
	r.pruning.RLock()
	if !p.inSync() {
		r.pruning.RUnlock()
		r.note("no failover: the replica is not in sync")
		return
	}
	r.killMaster()
	r.pruning.RUnlock()
	p.master, p.replica = p.replica, p.master
	p.follow(p.master, nil)
	r.network.Redirect(p.master.Addr())
	r.remote.Redirect(p.master.Addr())
	p.name(p.master)
	p.promoted++
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

func (r *rig) onDisk(a action) {
	var err error
	if a.what == "fill" {
		err = fill(r.disk)
	} else if err = os.Remove(ballast(r.disk)); os.IsNotExist(err) {
		err = nil
	}
	if err != nil {
		r.find("%s the disk: %v", a.what, err)
	}
}

// onClock moves the clock. Before it goes forward, whatever may be pruned by that is looked at and is in the streams, so
// that it can be judged.
func (r *rig) onClock(a action) {
	by, err := time.ParseDuration(a.arg)
	if err != nil {
		r.find("%v", err)
		return
	}
	r.pruning.Lock()
	defer r.pruning.Unlock()
	if by > 0 {
		last, err := r.book.look()
		if why := r.unprunable(); err != nil || why != "" {
			r.note("no jump: %v %s", err, why)
			return
		}
		r.jumped = last
	}
	r.clock += by
	path := filepath.Join(r.logs, "clock")
	if err = os.WriteFile(path+".draft", []byte(r.clock.String()), 0o600); err == nil {
		err = os.Rename(path+".draft", path)
	}
	if err != nil {
		r.find("move the clock: %v", err)
	}
}

// unprunable says what a stream lacks that the outbox might prune.
func (r *rig) unprunable() string {
	s, err := r.status()
	if err != nil {
		return err.Error()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	client := r.pair.client()
	defer client.Close()
	for _, t := range s.Outbox.Topics {
		newest, err := client.XRevRangeN(ctx, relay.StreamKey(channels[t.Topic]), "+", "-", 1).Result()
		if err != nil {
			return err.Error()
		}
		last := uint64(0)
		if len(newest) > 0 {
			text, _ := newest[0].Values["sequence"].(string)
			last, _ = strconv.ParseUint(text, 10, 64)
		}
		if last < t.Cursor {
			return fmt.Sprintf("the stream of %s ends at #%d, its cursor is at #%d", t.Topic, last, t.Cursor)
		}
	}
	return ""
}

func (r *rig) status() (control.Status, error) {
	client, err := control.Dial(r.db() + ".sock")
	if err != nil {
		return control.Status{}, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return client.Status(ctx)
}

func (r *rig) onOperator(a action) {
	r.pruning.RLock()
	defer r.pruning.RUnlock()
	switch a.what {
	case "post what Redis refuses":
		r.refuseAbove(refusedBytes)
		r.book.postRefused()
	case "replay parked":
		r.refuseAbove(512 << 20)
		r.do("events", "replay", "--state", "parked", "--yes", "--reason", "torture")
	case "discard parked":
		r.discard(outbox.Parked)
	case "discard pending":
		r.discard(outbox.Pending)
	case "pause", "resume", "resync":
		r.do(strings.Fields(map[string]string{"pause": "pause", "resume": "resume", "resync": "resync --yes"}[a.what])...)
	case "retry now":
		r.do("retry-now")
	case "ingest":
		r.changeList()
		r.do("ingest", r.list())
	}
}

// refuseAbove sets how large a message may be, if the master listens.
func (r *rig) refuseAbove(bytes int) {
	client := r.pair.client()
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var err error = client.ConfigSet(ctx, "proto-max-bulk-len", strconv.Itoa(bytes)).Err()
	if err != nil && err != redis.Nil {
		r.note("Redis is away: %v", err)
	}
}

// discard gives the newest event up that is in a state, if that is not yet to be pruned.
func (r *rig) discard(state outbox.State) {
	if _, err := r.book.look(); err != nil {
		return
	}
	chosen := uint64(0)
	r.book.mu.Lock()
	for sequence, f := range r.book.facts {
		if f.state == state && sequence > r.jumped {
			chosen = max(chosen, sequence)
		}
	}
	r.book.mu.Unlock()
	if chosen > 0 {
		r.do("events", "discard", "--seq", fmt.Sprint(chosen), "--yes", "--reason", "torture")
	}
}

func (r *rig) onKeeper(a action) {
	switch a.what {
	case "back up":
		path := filepath.Join(r.logs, "backup.db")
		_ = os.Remove(path)
		if r.do("backup", "save", path).code == 0 {
			if got := r.do("backup", "verify", path); got.code != 0 {
				r.find("a backup does not verify: %s%s", got.stdout, got.stderr)
			}
		}
	case "check":
		r.do("check")
	case "compact":
		r.do("compact")
	}
}

func (r *rig) onWhole(a action) {
	all := []*process{r.processor, r.veteran, r.relay}
	if a.what == "start all" {
		for _, p := range all {
			p.release()
		}
		return
	}
	for _, p := range all {
		p.hold()
	}
	if r.do("compact").code == 0 {
		r.compacted = true
	}
}
