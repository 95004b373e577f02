package relay_test

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// source is an outbox whose methods fail when they are told to, before they do anything.
type source struct {
	*outbox.Outbox
	mu    sync.Mutex
	fails map[string]fault // guarded by mu: by method
}

type fault struct {
	err   error
	times int // how often; negative: for ever
}

func failing(box *outbox.Outbox, method string, err error, times int) *source {
	return &source{Outbox: box, fails: map[string]fault{method: {err, times}}}
}

func (s *source) fault(method string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.fails[method]
	if f.times == 0 {
		return nil
	}
	f.times--
	s.fails[method] = f
	return f.err
}

// failNow lets a method that was to fail do so from now on.
func (s *source) failNow(method string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails[method] = fault{s.fails[method].err, -1}
}

// left is how often the method is still to fail.
func (s *source) left(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fails[method].times
}

func (s *source) Position(ctx context.Context, topic string) (outbox.Position, error) {
	if err := s.fault("Position"); err != nil {
		return outbox.Position{}, err
	}
	return s.Outbox.Position(ctx, topic)
}

func (s *source) Read(ctx context.Context, r outbox.Range) ([]outbox.Entry, error) {
	if err := s.fault("Read"); err != nil {
		return nil, err
	}
	return s.Outbox.Read(ctx, r)
}

func (s *source) Back(ctx context.Context, topic string, through uint64, n int) (uint64, error) {
	if err := s.fault("Back"); err != nil {
		return 0, err
	}
	return s.Outbox.Back(ctx, topic, through, n)
}

func (s *source) MessageID(ctx context.Context, topic string, sequence uint64) (string, error) {
	if err := s.fault("MessageID"); err != nil {
		return "", err
	}
	return s.Outbox.MessageID(ctx, topic, sequence)
}

func (s *source) Settle(ctx context.Context, r outbox.Receipt) error {
	if err := s.fault("Settle"); err != nil {
		return err
	}
	return s.Outbox.Settle(ctx, r)
}

func (s *source) Flush(ctx context.Context) error {
	if err := s.fault("Flush"); err != nil {
		return err
	}
	return s.Outbox.Flush(ctx)
}

func (s *source) Park(ctx context.Context, topic string, sequence uint64, f outbox.Failure) error {
	if err := s.fault("Park"); err != nil {
		return err
	}
	return s.Outbox.Park(ctx, topic, sequence, f)
}

func (s *source) Add(ctx context.Context, events ...outbox.Event) ([]uint64, error) {
	if err := s.fault("Add"); err != nil {
		return nil, err
	}
	return s.Outbox.Add(ctx, events...)
}

func (s *source) NewOrigin(ctx context.Context, from string, events ...outbox.Event) (string, error) {
	if err := s.fault("NewOrigin"); err != nil {
		return "", err
	}
	return s.Outbox.NewOrigin(ctx, from, events...)
}

func (s *source) Prune(ctx context.Context) (int, error) {
	if err := s.fault("Prune"); err != nil {
		return 0, err
	}
	return s.Outbox.Prune(ctx)
}

// target is a Redis with something in front of it: each method calls its hook, if there is one, with what would happen.
type target struct {
	relay.Target
	publish   func(next func() ([]relay.Reply, error), batches []relay.Batch) ([]relay.Reply, error)
	republish func(next func() (relay.Reply, error), b relay.Batch) (relay.Reply, error)
	restore   func(next func() (relay.Reply, error)) (relay.Reply, error)
	newest    func(next func() ([]relay.Entry, error)) ([]relay.Entry, error)
	buffers   func(next func() ([]relay.Buffer, error)) ([]relay.Buffer, error)

	mu    sync.Mutex
	muted map[string]chan struct{} // guarded by mu: by channel, closed when its guards fail; nil as long as they go through
}

// mute lets the relay know nothing of Redis any more after its next events of these channels, until the returned function is
// called: then the guards that have been waiting fail. So a death of Redis before that can take those events, however long
// the test takes; otherwise only what Redis had taken in the last two seconds.
func (t *target) mute(channels ...string) (fail func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.muted = map[string]chan struct{}{}
	for _, channel := range channels {
		t.muted[channel] = nil
	}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, held := range t.muted {
			if held != nil {
				close(held)
			}
		}
		t.muted = nil
	}
}

// guarded waits while guards of the channel are held, or until the relay is to end, and says whether there was such a wait.
func (t *target) guarded(ctx context.Context, channel string) bool {
	t.mu.Lock()
	held := t.muted[channel]
	t.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
		}
	}
	return held != nil
}

// carried takes note that Redis was given events of a channel.
func (t *target) carried(channel string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if held, muted := t.muted[channel]; muted && held == nil {
		t.muted[channel] = make(chan struct{})
	}
}

func (t *target) Publish(ctx context.Context, batches ...relay.Batch) ([]relay.Reply, error) {
	next := func() ([]relay.Reply, error) {
		if len(batches[0].Events) > 0 {
			defer t.carried(batches[0].Channel)
		} else if t.guarded(ctx, batches[0].Channel) {
			return nil, io.EOF
		}
		return t.Target.Publish(ctx, batches...)
	}
	if t.publish == nil {
		return next()
	}
	return t.publish(next, batches)
}

func (t *target) Republish(ctx context.Context, b relay.Batch) (relay.Reply, error) {
	next := func() (relay.Reply, error) { return t.Target.Republish(ctx, b) }
	if t.republish == nil {
		return next()
	}
	return t.republish(next, b)
}

func (t *target) Restore(ctx context.Context, r relay.Repair) (relay.Reply, error) {
	next := func() (relay.Reply, error) { return t.Target.Restore(ctx, r) }
	if t.restore == nil {
		return next()
	}
	return t.restore(next)
}

func (t *target) Newest(ctx context.Context, channel, before string) ([]relay.Entry, error) {
	next := func() ([]relay.Entry, error) { return t.Target.Newest(ctx, channel, before) }
	if t.newest == nil {
		return next()
	}
	return t.newest(next)
}

func (t *target) Buffers(ctx context.Context) (list []relay.Buffer, all bool, err error) {
	all = true
	next := func() (list []relay.Buffer, err error) {
		list, all, err = t.Target.Buffers(ctx)
		return list, err
	}
	if t.buffers == nil {
		list, err = next()
	} else {
		list, err = t.buffers(next)
	}
	return list, all, err
}

// front puts a target in front of the rig's Redis.
func (r *rig) front() *target {
	return &target{Target: relay.NewRedis(r.client, socketTimeout)}
}

// logged collects log lines.
type logged struct {
	mu sync.Mutex
	b  strings.Builder // guarded by mu
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// count is the number of lines that contain a text.
func (l *logged) count(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
