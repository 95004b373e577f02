package relay

import (
	"context"
	_ "embed"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
)

// Target is where events go: Redis. All its calls are idempotent.
type Target interface {
	// Load puts the scripts into Redis, which forgets them when it restarts.
	Load(ctx context.Context) error
	// Publish sends batches of one channel that follow each other in one round trip. The first reply that is not OK ends what
	// was done: every later batch finds its predecessor missing and changes nothing. A batch without events is a guard: it
	// writes the mark again and tells run and receivers. The error is a *ReplicasError when Redis did everything but too few
	// replicas have confirmed it in time.
	Publish(ctx context.Context, batches ...Batch) ([]Reply, error)
	// Republish publishes the batch's events once more within a run of Redis, whatever the mark says. The reply's Unheard are
	// those among them that nobody was subscribed to.
	Republish(ctx context.Context, b Batch) (Reply, error)
	// Restore replaces a mark that Redis has lost, and adds events to the stream, if it still is what was reported.
	Restore(ctx context.Context, r Repair) (Reply, error)
	// Newest lists some of the newest entries of the channel's stream, of all outboxes, the latest first: from the end, or from
	// before the entry with an ID on. None means that there are no more.
	Newest(ctx context.Context, channel string, before string) ([]Entry, error)
	// Stream tells how full the channel's stream is, and who is behind in reading it.
	Stream(ctx context.Context, channel string) (StreamHealth, error)
	// Lives says whether the Redis process of a run is alive as a master of the Cluster: then its slots have moved to another
	// one, and nothing has died with it.
	Lives(ctx context.Context, run string) bool
	// Buffers lists the output buffers of all subscribers, and says whether that is all that is on its way to them: between the
	// nodes of a Cluster there may be more.
	Buffers(ctx context.Context) (list []Buffer, all bool, err error)
}

// Batch is a run of events of one topic in order.
type Batch struct {
	Channel     string
	Origin      string
	Run         string         // the Redis run_id to insist on; "" accepts any
	Predecessor outbox.Mark    // what Redis last accepted before the first event
	Added       outbox.Mark    // what the stream may have been given beyond that; nothing else is skipped as added before
	Receivers   int            // at least so many subscribers, or Redis answers TooFew
	Stream      *Stream        // nil: no stream
	Stored      uint64         // without events: the file has stored what no one heard up to here, and Redis may forget that
	Wait        Wait           // for replicas; that of the first batch holds for the whole call
	Events      []outbox.Entry // at most some hundred, and about 1 MB
}

// Stream says how events are added to the stream of a channel.
type Stream struct {
	MaxLen    int // about how many entries it keeps
	MaxUnread int // about how many, while consumer groups have still to read them; at least MaxLen
	// Source, Topic and Schema are the CloudEvents attributes source, type and dataschema.
	Source, Topic, Schema string
}

// Wait says for how many replicas a call waits, and how long.
type Wait struct {
	Replicas int
	Timeout  time.Duration
}

// Marks are the high-water marks of a channel and of its stream.
type Marks struct{ Published, Added outbox.Mark }

// Repair is what Redis has lost of one channel.
type Repair struct {
	Channel, Origin string
	Reported        Marks   // by Redis: when it has others, nothing changes
	Set             Marks   // after the events have been added
	Stream          *Stream // nil: no stream
	Events          []outbox.Entry
	Predecessors    []uint64 // of each of the events: the sequence of the one before it that Redis was given, 0 if there is none
}

// Entry is an entry of a stream, without what it says.
type Entry struct {
	ID     string
	Origin string
	Mark   outbox.Mark // zero when it is not an event's
}

// Buffer is the output buffer of one subscriber's connection.
type Buffer struct {
	Client string // its address
	Bytes  int64
}

// Outcome is what Redis made of a batch.
type Outcome string

// Outcomes.
const (
	OK       Outcome = "OK"   // all published, or seen before
	TooFew   Outcome = "HELD" // too few subscribers; nothing changed
	Lost     Outcome = "LOST" // the mark is neither the predecessor nor an event of the batch; nothing changed
	Gone     Outcome = "GONE" // the mark is right, but the stream is not there any more; nothing changed
	OtherRun Outcome = "RUN"  // another Redis process than expected; nothing changed
	Refused  Outcome = "ERR"  // published up to Mark, then PUBLISH or XADD failed with Err
)

// Reply is Redis's answer to a batch.
type Reply struct {
	Outcome   Outcome
	Mark      outbox.Mark // the high-water mark as it now is
	Added     outbox.Mark // the same of the stream
	Run       string      // run_id of the answering process, "" where INFO is not to be had
	Receivers int         // subscribers of the channel, -1 where that is not to be had
	Partial   bool        // a node of the Cluster hangs, and its subscribers are not counted
	Published int         // events published by this call, repeats not counted
	Unheard   []uint64    // events after the predecessor, up to Mark, that nobody was subscribed to
	Err       error       // with Refused
}

// ahead says whether the stream has more than what was published.
func (r Reply) ahead() bool { return r.Added.Sequence > r.Mark.Sequence }
