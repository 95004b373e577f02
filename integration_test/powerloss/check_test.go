package powerloss

import (
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// job is what a checking process is asked for: a damaged file may end the process that opens it, or never let it go on.
type job struct {
	Traces      []string `json:"traces"`
	Root, Marks string   // where the recorded process worked
	Scratch     string   `json:"-"`
	folder      string   // of the recording
	Seed        uint64   `json:"seed"`
	Effort      Effort   `json:"effort"`
	Only        string   `json:"only,omitempty"` // a state
	// Omit checks, instead of every state, whether one fails without these syncs, each list of them at a time.
	Omit [][]string `json:"omit,omitempty"`
	// OmitEach does so for each sync.
	OmitEach bool `json:"omit_each,omitempty"`
}

// message is a line of a checking process.
type message struct {
	Checking string `json:"checking,omitempty"` // a state, or a sync that is left out
	Failed   string `json:"failed,omitempty"`
	State    string `json:"state,omitempty"`

	Done                  bool `json:"done,omitempty"`
	Calls, Points, States int
}

const jobFile = "job.json"

type checker struct {
	job     job
	calls   []*Call
	history *history
	syncOf  map[int]string // the name of the sync that a call ends
	mu      sync.Mutex
	out     *json.Encoder // guarded by mu
}

// check does the job of a file, in a scratch folder.
func check(args []string) error {
	var c checker
	b, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &c.job); err != nil {
		return err
	}
	c.job.Scratch, c.job.folder = args[1], filepath.Dir(args[0])
	for i, trace := range c.job.Traces {
		c.job.Traces[i] = filepath.Join(c.job.folder, trace)
	}
	c.out = json.NewEncoder(os.Stdout)
	if c.calls, err = ReadTraces(c.job.Traces...); err != nil {
		return err
	}
	if c.history, err = recall(c.job, c.calls, c.say); err != nil {
		return err
	}
	c.syncOf = map[int]string{}
	for _, s := range c.history.syncs {
		c.syncOf[s.end] = s.name
	}
	if c.job.OmitEach || c.job.Omit != nil {
		return c.checkSyncs()
	}
	return c.checkStates()
}

func (c *checker) say(m message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.out.Encode(m)
}

// matters says whether a cut after call i may leave something new, or break a new promise.
func (c *checker) matters(i int, step Step) bool { return step.Changed || c.settled(i) }

// settled says whether at call i a sync begins or a promise is given.
func (c *checker) settled(i int) bool {
	call := c.calls[i]
	syncs := !call.End && (call.Name == "fsync" || call.Name == "fdatasync")
	return syncs || i > 0 && c.history.at(i).promise != c.history.at(i-1).promise
}

// states yields what a cut after call i could leave, with its name.
func (c *checker) states(i int, disk *Disk, settled bool) iter.Seq[State] {
	return func(yield func(State) bool) {
		random := rand.New(rand.NewPCG(c.job.Seed, uint64(i)))
		for s := range disk.States(c.job.Effort, settled, random) {
			s.What = fmt.Sprintf("call %d (%s): %s", i, c.calls[i].Name, s.What)
			if !yield(s) {
				return
			}
		}
	}
}

type seen struct {
	image   uint64
	promise int
}

// checkStates checks every state of the trace.
func (c *checker) checkStates() error {
	points, was := 0, map[seen]bool{}
	pool := c.pool()
	disk := NewDisk(c.job.Root, c.job.Marks)
	for i, call := range c.calls {
		step, err := disk.Take(call)
		if err != nil {
			return err
		}
		if !c.matters(i, step) {
			continue
		}
		points++
		b := c.history.at(i)
		for s := range c.states(i, disk, c.settled(i)) {
			key := seen{s.Image.Sum(), b.promise}
			if was[key] || c.job.Only != "" && c.job.Only != s.What {
				continue
			}
			was[key] = true
			if c.job.Only != "" {
				if err := s.Image.Leave(filepath.Join(c.job.folder, "state")); err != nil {
					return err
				}
			}
			pool.do(func(folder string) {
				if problem := c.judge(s, folder, b); problem != "" {
					c.say(message{State: s.What, Failed: problem})
				}
			})
		}
	}
	pool.wait()
	if err := disk.Now().Compare(filepath.Join(c.job.folder, "root")); err != nil && c.job.Only == "" {
		return fmt.Errorf("the model and the recorded folder differ: %w", err)
	}
	c.say(message{Done: true, Calls: len(c.calls), Points: points, States: len(was)})
	return nil
}

// judge says what is wrong with a state, or "".
func (c *checker) judge(s State, folder string, b bounds) string {
	c.say(message{Checking: s.What})
	holds, err := restart(s.Image, folder, c.history.main)
	if err != nil {
		return err.Error()
	}
	return c.history.judge(b, holds)
}

// checkSyncs leaves syncs out, and looks for a state that fails.
func (c *checker) checkSyncs() error {
	groups := c.job.Omit
	if c.job.OmitEach {
		for _, s := range c.history.syncs {
			groups = append(groups, []string{s.name})
		}
	}
	pool := c.pool()
	disk := NewDisk(c.job.Root, c.job.Marks)
	for i, call := range c.calls {
		next := c.syncOf[i]
		for _, names := range groups {
			if next == "" || names[0] != next {
				continue
			}
			without := disk.Clone()
			pool.do(func(folder string) {
				what := strings.Join(names, "; ")
				problem, state := c.without(names, without, i, folder)
				c.say(message{Checking: what, State: state, Failed: problem, Done: true})
			})
		}
		if _, err := disk.Take(call); err != nil {
			return err
		}
	}
	pool.wait()
	return nil
}

// without finds a state that fails when syncs do nothing, from the call on that ends the first of them.
func (c *checker) without(names []string, disk *Disk, from int, folder string) (problem, state string) {
	was := map[seen]bool{}
	left := len(names)
	for i := from; i < len(c.calls); i++ {
		disk.Omit = slices.Contains(names, c.syncOf[i])
		step, err := disk.Take(c.calls[i])
		if err != nil {
			return "", err.Error()
		}
		if disk.Omit {
			left--
			continue // all of these could be there before
		}
		if !c.matters(i, step) {
			continue
		}
		b := c.history.at(i)
		for s := range c.states(i, disk, c.settled(i)) {
			key := seen{s.Image.Sum(), b.promise}
			if was[key] {
				continue
			}
			was[key] = true
			if problem := c.judge(s, folder, b); problem != "" {
				return problem, s.What
			}
		}
		if left == 0 && !disk.Omitted() { // a later sync has made up for it
			break
		}
	}
	return "", ""
}

// pool does things at the same time, each in a folder of its own.
type pool struct {
	group   errgroup.Group
	folders chan string
}

func (c *checker) pool() *pool {
	n := runtime.GOMAXPROCS(0)
	p := &pool{folders: make(chan string, n)}
	p.group.SetLimit(n)
	for i := range n {
		p.folders <- filepath.Join(c.job.Scratch, fmt.Sprint("state", i))
	}
	return p
}

func (p *pool) do(fn func(folder string)) {
	p.group.Go(func() error {
		folder := <-p.folders
		defer func() { p.folders <- folder }()
		fn(folder)
		return nil
	})
}

func (p *pool) wait() { _ = p.group.Wait() }
