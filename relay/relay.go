package relay

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/PitchConnect/matchrelay/outbox"
)

// Source is where events come from: an outbox. *outbox.Outbox implements it; see there for what each method does.
type Source interface {
	Position(ctx context.Context, topic string) (outbox.Position, error)
	Read(ctx context.Context, r outbox.Range) ([]outbox.Entry, error)
	Back(ctx context.Context, topic string, through uint64, n int) (uint64, error)
	MessageID(ctx context.Context, topic string, sequence uint64) (string, error)
	Settle(ctx context.Context, r outbox.Receipt) error
	Flush(ctx context.Context) error
	Park(ctx context.Context, topic string, sequence uint64, f outbox.Failure) error
	Add(ctx context.Context, events ...outbox.Event) ([]uint64, error)
	NewOrigin(ctx context.Context, from string, events ...outbox.Event) (string, error)
	Prune(ctx context.Context) (int, error)
	Appended() <-chan struct{}
}

// Options of a relay. Only Channels is needed.
type Options struct {
	// Channels maps each topic to its Redis Pub/Sub channel, no two to the same one. Other topics are not relayed.
	Channels map[string]string
	// MinReceivers is, per topic, how many subscribers must be there before anything is published to it; 0 or less means
	// that nobody is waited for.
	MinReceivers map[string]int
	// HoldMax is how long MinReceivers is waited for on a reachable Redis before events are published all the same, and
	// counted as unheard; 0 or less means for ever.
	HoldMax time.Duration
	// RejoinWait is how long every topic waits after an outage, and when a relay begins, for as many subscribers as it had
	// before: the time in which Redis answers, from its first answer on. Where the network fails meanwhile, the time away is
	// added, up to three times RejoinWait in all. 0 means DefaultRejoinWait, less means not at all.
	RejoinWait time.Duration
	// RetryDelay and RetryMaxDelay bound the exponential backoff; 0 or less means 1 s and 5 s.
	RetryDelay, RetryMaxDelay time.Duration
	// MaxRetries is how often an event that fails by itself is tried before it is parked; 0 or less means 3.
	MaxRetries int
	// BlockOnPoison lets a topic wait at an event that fails by itself, instead of parking it and going on.
	BlockOnPoison bool
	// HealthInterval is the time between checks of an idle connection, and between prunings; 0 or less means 30 s.
	HealthInterval time.Duration
	// Streams adds each event to a Redis Stream beside its channel, named by StreamKey, which keeps about StreamMaxLen entries
	// (0 or less means 1000). The fields of an entry are the CloudEvents attributes specversion, id (the message ID), source,
	// type (the topic), time (of the append), subject (the channel), dataschema, then sequence, predecessor, origin and data (the
	// payload). What a consumer group of the stream, or a reader with a name (ConsumeOptions.Name), has still to read is kept beyond
	// that, until there are about StreamMaxUnread entries (0 or less means 10,000; at least StreamMaxLen).
	Streams                       bool
	StreamMaxLen, StreamMaxUnread int
	// Source and Schemas (by topic) are the attributes source and dataschema of stream entries: URIs. An empty source means
	// "matchrelay", a topic without a schema gets none.
	Source  string
	Schemas map[string]string
	// WaitReplicas is how many replicas must have confirmed an event before it is settled; WaitTimeout is how long they are
	// waited for before that is an outage (0 or less means 1 s).
	WaitReplicas int
	WaitTimeout  time.Duration
	// MaxBuffer is how many bytes may wait in the output buffer of the slowest subscriber before the relay waits for it; it may
	// get twice as many. 0 means 4 MiB, less turns flow control off. BytesPerSecond is the pace where Redis does not tell
	// (CLIENT LIST is not permitted); 0 or less means 8 MiB.
	MaxBuffer, BytesPerSecond int
	// UntilEmpty makes Run return once nothing is pending. Held and blocked topics keep it running until ctx ends.
	UntilEmpty bool
	// Alert turns what an operator must know into an event, which the relay appends to the outbox; nil only logs it.
	Alert func(Alert) (outbox.Event, error)
	// Logger takes what happens; nil discards it. Payloads and credentials are never logged.
	Logger *slog.Logger
	// Observe, if set, is called after each batch that Redis took, from the topic's goroutine; it must not block.
	Observe func(topic string, entries []outbox.Entry)
}

// Defaults of Options.
const (
	DefaultRejoinWait      = 90 * time.Second
	DefaultRetryDelay      = time.Second
	DefaultRetryMaxDelay   = 5 * time.Second
	DefaultMaxRetries      = 3
	DefaultHealthInterval  = 30 * time.Second
	DefaultStreamMaxLen    = 1000
	DefaultStreamMaxUnread = 10_000
	DefaultWaitTimeout     = time.Second
	DefaultMaxBuffer       = 4 << 20
	DefaultBytesPerSecond  = 8 << 20
)

const (
	batchEvents   = 200     // events in one script call: a long script blocks Redis for everybody
	batchBytes    = 1 << 20 // bytes in one script call; one larger event goes alone
	pipelineDepth = 4       // calls in one round trip
	keptUnheard   = 1000    // how many events that no one heard publish.lua keeps beside the mark
	receiverPoll  = 250 * time.Millisecond
	lastLooks     = tailWindow + time.Second // how long a relay that is told to end may look whether its tail has left
	lookEvery     = 250 * time.Millisecond   // the least time between two looks at the output buffers for the tail's sake
	// sentWithin is how old an event is at least that leaves the tail because the output buffers were seen to be without it.
	sentWithin = 200 * time.Millisecond
	// tailWindow is that where Redis does not tell what is in its buffers, or, in a Cluster, on its way between nodes.
	tailWindow = 2 * time.Second
)

func (o Options) withDefaults() Options {
	positive := func(d *time.Duration, fallback time.Duration) {
		if *d <= 0 {
			*d = fallback
		}
	}
	if o.RejoinWait == 0 {
		o.RejoinWait = DefaultRejoinWait
	}
	positive(&o.RetryDelay, DefaultRetryDelay)
	positive(&o.RetryMaxDelay, DefaultRetryMaxDelay)
	positive(&o.HealthInterval, DefaultHealthInterval)
	positive(&o.WaitTimeout, DefaultWaitTimeout)
	for n, fallback := range map[*int]int{&o.MaxRetries: DefaultMaxRetries, &o.StreamMaxLen: DefaultStreamMaxLen, &o.StreamMaxUnread: DefaultStreamMaxUnread, &o.BytesPerSecond: DefaultBytesPerSecond} {
		if *n <= 0 {
			*n = fallback
		}
	}
	o.StreamMaxUnread = max(o.StreamMaxUnread, o.StreamMaxLen)
	if o.MaxBuffer == 0 {
		o.MaxBuffer = DefaultMaxBuffer
	}
	if o.Source == "" {
		o.Source = "matchrelay"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Relay drains an outbox to Redis. Make one with New and call Run.
type Relay struct {
	source  Source
	target  Target
	opts    Options
	lanes   []*lane
	origins atomic.Int64  // how often a lane has given the file a fresh origin: the others must read it again
	renewal chan struct{} // holds a token while a lane does that
	renewed []time.Time   // when a lane has, within the last freshOriginsFor; for who holds the token
	flow    *flow
	alerts  alerter
	valve   valve
}

// New makes a relay; nothing starts before Run.
func New(source Source, target Target, opts Options) *Relay {
	r := &Relay{source: source, target: target, opts: opts.withDefaults(), renewal: make(chan struct{}, 1)}
	r.flow = newFlow(target, r.opts)
	r.alerts.source, r.alerts.build, r.alerts.log, r.alerts.last = source, r.opts.Alert, r.opts.Logger, map[string]time.Time{}
	for topic, channel := range r.opts.Channels {
		r.lanes = append(r.lanes, newLane(r, topic, channel))
	}
	slices.SortFunc(r.lanes, func(a, b *lane) int { return strings.Compare(a.topic, b.topic) })
	return r
}

// Run drains the outbox until ctx ends, and then returns nil after settling what Redis has accepted: a call that is under
// way is waited for, as long as its time limit. Each topic goes its own way: one that waits or is blocked stops no other.
// An error means that the outbox itself does not work any more (outbox.ErrFailed, outbox.ErrClosed; with UntilEmpty also
// outbox.ErrDamaged); whatever Redis does is retried for ever, and a topic that meets with damaged pages is blocked by itself.
// Two topics with the same channel are an error, too. Run may be called once.
func (r *Relay) Run(ctx context.Context) error {
	topics := map[string]string{}
	for _, l := range r.lanes {
		if other, taken := topics[l.channel]; taken {
			return fmt.Errorf("relay: topics %s and %s have the same channel %s; give each a channel of its own", other, l.topic, l.channel)
		}
		topics[l.channel] = l.topic
	}
	defer func() {
		for _, l := range r.lanes {
			l.status.set(NotRunning, "", "")
		}
	}()
	for {
		worked, err := r.pass(ctx)
		_, flushErr := r.flush(ctx)
		if class := partial(flushErr); err == nil && (class == "" || class == Damaged && r.opts.UntilEmpty) {
			err = flushErr
		}
		if err != nil || ctx.Err() != nil || !worked {
			return err
		}
	}
}

// pass runs every lane until ctx ends or, with UntilEmpty, until each has found nothing to do once; it says whether any
// had something, for what one lane does (an alert) may be work for another.
func (r *Relay) pass(ctx context.Context) (worked bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	var lanes sync.WaitGroup
	var did atomic.Bool
	for _, l := range r.lanes {
		lanes.Add(1)
		group.Go(func() error {
			defer lanes.Done()
			n, err := l.run(ctx)
			if n > 0 {
				did.Store(true)
			}
			return err
		})
	}
	if r.opts.UntilEmpty {
		group.Go(func() error {
			lanes.Wait()
			cancel()
			return nil
		})
	}
	group.Go(func() error { return r.prune(ctx) })
	group.Go(func() error { return r.watchStreams(ctx) })
	err = group.Wait()
	return did.Load() || r.alerts.raised.Swap(false), err
}

// prune applies the retention period at the pace of the health checks. It also notices an outbox that has failed while
// nothing was to be delivered.
func (r *Relay) prune(ctx context.Context) error {
	ticker := time.NewTicker(r.opts.HealthInterval)
	defer ticker.Stop()
	var class Class
	for {
		n, err := r.source.Prune(ctx)
		if n > 0 {
			r.opts.Logger.Info("pruned delivered events that are over the retention period", "events", n)
		}
		before := class
		switch class = partial(err); {
		case err == nil, ctx.Err() != nil, class != "" && class == before:
		case class != "":
			r.opts.Logger.Warn("cannot prune delivered events; trying again later", "error", err)
			r.alerts.damage(ctx, "", "delivered events are kept for longer than the retention period", err)
		default:
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// RetryNow ends the backoff that any topic is in.
func (r *Relay) RetryNow() {
	for _, l := range r.lanes {
		select {
		case l.retry <- struct{}{}:
		default:
		}
	}
}
