package simulation

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/relay/control"
)

// source is a relay's way to its outbox: a relay.Source. Each call takes a moment, so that no two of them, and nothing else,
// happen at the same instant; and a relay that is dead does nothing any more.
type source struct {
	w   *world
	d   *drain
	box relay.Source // the outbox itself, or the way to it over the control socket
}

// lanes tells the goroutines of a relay apart, which carry a topic each, where a call does not say so itself.
type lanes struct {
	mu     sync.Mutex
	topics map[string]string // guarded by mu: by goroutine
}

// learn takes note that the calling goroutine carries a topic: the first that it asks for, for later it may ask for another's.
func (l *lanes) learn(topic string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.topics == nil {
		l.topics = map[string]string{}
	}
	if g := goroutine(); l.topics[g] == "" {
		l.topics[g] = topic
	}
}

// caller names the calling goroutine by its topic, or "" when it is not known yet.
func (l *lanes) caller() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.topics[goroutine()]
}

// goroutine is the number of the calling goroutine, as its stack trace shows it.
func goroutine() string {
	var b [32]byte
	text := string(b[:runtime.Stack(b[:], false)])
	return strings.Fields(text)[1]
}

// begin is to be called first.
func (s source) begin(caller string) error {
	d := s.delay(caller)
	s.w.trace("source %s %v", caller, d)
	time.Sleep(d)
	s.d.awake()
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.stepped()
	if s.d.isDead() {
		return errGone
	}
	return nil
}

// delay is how long it takes until a call begins, drawn from a source that no other goroutine has. When a relay starts, all its
// topics call for Flush at once: it is not known which is which, and does not matter.
func (s source) delay(caller string) time.Duration {
	topic := s.d.lanes.caller()
	switch caller {
	case "flush", "add", "origin":
		if topic == "" {
			return 3 * time.Microsecond
		}
	}
	if topic != "" && topic != caller {
		caller += " " + topic
	}
	return s.w.noise.between(fmt.Sprint("source ", s.d.number, " ", caller), 5*time.Microsecond, 100*time.Microsecond)
}

// end gives the process the chance to die when the call has done its work.
func (s source) end(err error) error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	before := s.w.process
	switch s.w.stepped(); {
	case s.d.isDead():
		return errGone
	case s.w.process != before: // it has died before it answered
		return fmt.Errorf("%w: %w", control.ErrLeaseLost, io.EOF)
	}
	return err
}

// Position implements relay.Source, as do all that follow.
func (s source) Position(ctx context.Context, topic string) (p outbox.Position, err error) {
	s.d.lanes.learn(topic)
	if err = s.begin(topic); err == nil {
		p, err = s.box.Position(ctx, topic)
	}
	if err == nil {
		s.w.hasLoaded(s.d, topic, p)
	}
	return p, err
}

func (s source) Read(ctx context.Context, r outbox.Range) (entries []outbox.Entry, err error) {
	if err = s.begin(r.Topic); err == nil {
		entries, err = s.box.Read(ctx, r)
	}
	return entries, err
}

func (s source) Back(ctx context.Context, topic string, through uint64, n int) (after uint64, err error) {
	if err = s.begin(topic); err == nil {
		after, err = s.box.Back(ctx, topic, through, n)
	}
	return after, err
}

func (s source) MessageID(ctx context.Context, topic string, sequence uint64) (id string, err error) {
	if err = s.begin(topic); err == nil {
		id, err = s.box.MessageID(ctx, topic, sequence)
	}
	return id, err
}

func (s source) Settle(ctx context.Context, r outbox.Receipt) error {
	err := s.begin(r.Topic)
	if err == nil {
		err = s.end(s.box.Settle(ctx, r))
	}
	return err
}

func (s source) Flush(ctx context.Context) error {
	err := s.begin("flush")
	if err == nil {
		err = s.end(s.box.Flush(ctx))
	}
	return err
}

func (s source) Park(ctx context.Context, topic string, sequence uint64, f outbox.Failure) error {
	err := s.begin(topic)
	if err == nil {
		err = s.end(s.box.Park(ctx, topic, sequence, f))
	}
	return err
}

func (s source) Add(ctx context.Context, events ...outbox.Event) (sequences []uint64, err error) {
	if err = s.begin("add"); err == nil {
		sequences, err = s.box.Add(ctx, events...)
		err = s.end(err)
	}
	return sequences, err
}

func (s source) NewOrigin(ctx context.Context, from string, events ...outbox.Event) (origin string, err error) {
	if err = s.begin("origin"); err == nil {
		origin, err = s.box.NewOrigin(ctx, from, events...)
		err = s.end(err)
	}
	return origin, err
}

func (s source) Prune(ctx context.Context) (n int, err error) {
	if err = s.begin("prune"); err == nil {
		n, err = s.box.Prune(ctx)
		err = s.end(err)
	}
	return n, err
}

func (s source) Appended() <-chan struct{} { return s.box.Appended() }
