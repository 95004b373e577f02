package simulation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/PitchConnect/matchrelay/relay"
)

// network is what is between a relay and Redis.
type network struct {
	mode   string // "" works, "refused" or "silent"
	faults []fault
}

// fault is what happens to one of the next calls.
type fault struct {
	kind string        // "before": cut off before it ran; "after": when it ran; "slow"
	wait time.Duration // of a slow one
}

// take is the fault of the next call.
func (n *network) take() (f fault) {
	if len(n.faults) > 0 {
		f, n.faults = n.faults[0], n.faults[1:]
	}
	return f
}

// callLimit is how long a call may take, as that of relay.NewRedis.
func callLimit(bytes int) time.Duration { return 5*time.Second + time.Duration(bytes>>20)*time.Second }

var (
	errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	errReset   = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	errGone    = errors.New("the relay is dead") // for calls whose answers no one waits for any more
)

// target is a relay's way to Redis: a relay.Target.
type target struct {
	w *world
	d *drain
}

// answer is what a call brings back.
type answer[T any] struct {
	value T
	err   error
}

// call takes a call to Redis and its answer back. run is what Redis does, at one instant; what it returns counts even when the
// error is not nil, as the replies of a pipeline that was cut off.
func call[T any](t target, caller string, limit time.Duration, run func(s *server) (T, error)) (T, error) {
	var none T
	if t.d.isDead() {
		return none, errGone
	}
	answers := make(chan answer[T], 1)
	t.w.mu.Lock()
	f := t.w.net.take()
	t.w.calls++
	t.w.flying++
	t.w.mu.Unlock()
	if t.d.awake(); t.d.isDead() {
		t.w.mu.Lock()
		defer t.w.mu.Unlock()
		t.w.flying--
		return none, errGone
	}
	// All is drawn now: several calls may go on at one instant, when Redis thaws.
	source := t.w.noise.of(fmt.Sprint("target ", t.d.number, " ", caller))
	way := func() time.Duration {
		return 20*time.Microsecond + time.Duration(source.Int64N(int64(280*time.Microsecond)))
	}
	j := journey{there: way(), back: way(), fault: f, notices: source.IntN(2) == 0}
	t.w.trace("call %s %v", caller, j)
	go func() {
		value, err := travel(t, j, run)
		t.w.mu.Lock()
		t.w.flying--
		t.w.mu.Unlock()
		answers <- answer[T]{value, err}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-timer.C:
		return none, context.DeadlineExceeded
	case <-t.d.dead:
		return none, errGone
	}
}

// journey is how a call fares.
type journey struct {
	there, back time.Duration
	fault       fault
	notices     bool // its client, that the connection is one to a process that has died
}

// travel is the way there and back. It goes on when its caller has given up, or has died: what was sent, arrives.
func travel[T any](t target, j journey, run func(s *server) (T, error)) (value T, err error) {
	w, f := t.w, j.fault
	time.Sleep(j.there)
	if f.kind == "slow" {
		time.Sleep(f.wait)
	}
	done := make(chan answer[T], 1)
	var process string
	perform := func() {
		process = w.server.run
		value, err := run(w.server)
		w.executed()
		done <- answer[T]{value, err}
	}
	w.mu.Lock()
	stale := t.d.connection != "" && t.d.connection != w.server.run
	switch {
	case w.net.mode == "silent":
		w.mu.Unlock()
		<-w.over
		return value, errReset
	case w.net.mode == "refused", !w.server.up:
		err = errRefused
	case f.kind == "before", stale && !j.notices:
		err = io.EOF
	case !w.server.frozen.IsZero():
		w.server.queue = append(w.server.queue, queued{perform, func() { done <- answer[T]{value, errReset} }})
	default:
		perform()
	}
	if t.d.connection = w.server.run; err != nil {
		t.d.connection = ""
	}
	w.mu.Unlock()
	if err != nil {
		return value, err
	}
	var a answer[T]
	select {
	case a = <-done:
	case <-w.over:
		return value, errReset
	}
	if p, ok := any(a.value).(confirmed); ok {
		time.Sleep(p.waits)
	}
	time.Sleep(j.back)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case f.kind == "after", w.net.mode != "":
		return value, io.EOF
	case !w.server.up || w.server.run != process:
		return value, errReset
	}
	return a.value, a.err
}

// Load implements relay.Target, as do all that follow.
func (t target) Load(context.Context) error {
	_, err := call(t, "load "+t.d.lanes.caller(), callLimit(0), func(s *server) (struct{}, error) {
		if s.has("loading") {
			return struct{}{}, errLoading
		}
		if s.has("noperm") {
			return struct{}{}, errNoPerm
		}
		s.loaded = true
		return struct{}{}, nil
	})
	return err
}

func (t target) Publish(_ context.Context, batches ...relay.Batch) ([]relay.Reply, error) {
	bytes := 0
	for _, b := range batches {
		for _, e := range b.Events {
			bytes += len(e.Payload)
		}
	}
	asked, wait := time.Now(), batches[0].Wait
	done, err := call(t, batches[0].Channel, callLimit(bytes)+wait.Timeout, func(s *server) (confirmed, error) {
		replies, err := t.script(s, batches)
		waits, behind := s.await(wait)
		if err == nil {
			err = behind
		}
		return confirmed{replies, waits}, err
	})
	if err != nil && wait.Replicas > 0 {
		done.replies = nil // WAIT has not answered as it should
	}
	t.w.told(t.d, asked, batches, done.replies)
	return done.replies, err
}

// confirmed is what Publish brings back.
type confirmed struct {
	replies []relay.Reply
	waits   time.Duration // for replicas
}

// script runs the script for each batch.
func (t target) script(s *server, batches []relay.Batch) (replies []relay.Reply, failed error) {
	s.caller = t.d.number
	for _, b := range batches {
		if t.w.poisoned(b) {
			return replies, errReset // Redis closes the connection at an argument that is too large
		}
		reply, err := s.publish(b)
		if failed == nil && err != nil {
			failed = err
		}
		if failed == nil && (len(replies) == 0 || replies[len(replies)-1].Outcome == relay.OK) {
			replies = append(replies, reply)
		}
	}
	return replies, failed
}

func (t target) Republish(_ context.Context, b relay.Batch) (relay.Reply, error) {
	return call(t, b.Channel, callLimit(0), func(s *server) (relay.Reply, error) {
		if t.w.poisoned(b) {
			return relay.Reply{}, errReset
		}
		s.caller = t.d.number
		return s.republish(b)
	})
}

func (t target) Restore(_ context.Context, r relay.Repair) (relay.Reply, error) {
	return call(t, r.Channel, callLimit(0), func(s *server) (relay.Reply, error) {
		if t.w.poisoned(relay.Batch{Events: r.Events}) {
			return relay.Reply{}, errReset
		}
		s.caller = t.d.number
		return s.restore(r)
	})
}

func (t target) Newest(_ context.Context, channel, before string) ([]relay.Entry, error) {
	return call(t, channel, callLimit(0), func(s *server) ([]relay.Entry, error) { return s.newest(channel, before) })
}

// Stream tells nothing: it is not looked at while events are delivered.
func (t target) Stream(context.Context, string) (relay.StreamHealth, error) {
	return relay.StreamHealth{}, errListPerm
}

// Lives says that no other process of a Cluster has the run: the model has no Cluster.
func (t target) Lives(context.Context, string) bool { return false }

func (t target) Buffers(context.Context) (list []relay.Buffer, all bool, err error) {
	asked, topic := time.Now(), t.d.lanes.caller()
	list, err = call(t, "buffers "+topic, callLimit(0), (*server).buffers)
	if err == nil || errors.Is(err, errListPerm) {
		t.w.looked(t.d, topic, asked, list)
	}
	return list, true, err
}
