package relay

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/PitchConnect/matchrelay/outbox"
)

// markTTL is how long Redis keeps a high-water mark that nobody renews; every call and every health check does.
const markTTL = 180 * 24 * time.Hour

const defaultTimeout = 5 * time.Second

// Target is where events go: Redis. All its calls are idempotent.
type Target interface {
	// Load puts the scripts into Redis, which forgets them when it restarts.
	Load(ctx context.Context) error
	// Publish sends batches of one channel that follow each other in one round trip. The first reply that is not OK ends what
	// was done: every later batch finds its predecessor missing and changes nothing. A batch without events is a guard: it
	// writes the mark again and tells run and receivers. The error is a *ReplicasError when Redis did everything but too few
	// replicas have confirmed it in time.
	Publish(ctx context.Context, batches ...Batch) ([]Reply, error)
	// Republish publishes the batch's events once more within a run of Redis, whatever the mark says.
	Republish(ctx context.Context, b Batch) (Reply, error)
	// Restore replaces a mark that Redis has lost, and adds events to the stream, if it still is what was reported.
	Restore(ctx context.Context, r Repair) (Reply, error)
	// Newest finds the newest entry of any of the origins in the channel's stream, going back from the entry with the ID before,
	// or from the end if that is "". The zero Entry means that there is none.
	Newest(ctx context.Context, channel string, origins []string, before string) (Entry, error)
	// Lives says whether the Redis process of a run is alive as a master of the Cluster: then its slots have moved to another
	// one, and nothing has died with it.
	Lives(ctx context.Context, run string) bool
	// Buffers lists the output buffers of all subscribers.
	Buffers(ctx context.Context) ([]Buffer, error)
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
	Wait        Wait           // for replicas; that of the first batch holds for the whole call
	Events      []outbox.Entry // at most some hundred, and about 1 MB
}

// Stream says how events are added to the stream of a channel.
type Stream struct {
	MaxLen int // about how many entries it keeps
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
}

// Entry is an entry of a stream, without what it says.
type Entry struct {
	ID     string
	Origin string
	Mark   outbox.Mark
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

var (
	//go:embed entry.lua
	entrySource string
	//go:embed publish.lua
	publishSource string
	//go:embed republish.lua
	republishSource string
	//go:embed restore.lua
	restoreSource string
	//go:embed newest.lua
	newestSource string

	publishScript   = redis.NewScript(entrySource + publishSource)
	republishScript = redis.NewScript(republishSource)
	restoreScript   = redis.NewScript(entrySource + restoreSource)
	newestScript    = redis.NewScript(newestSource)
)

// Redis is the Target.
type Redis struct {
	client   redis.UniversalClient
	timeout  time.Duration
	answered atomic.Bool // a call has succeeded once
	nodes    nodeList
}

// NewRedis makes a target of a client from NewClient. timeout bounds a call with little data (0 or less means 5 s); a call
// gets a second more for each megabyte. The client stays the caller's to close, after Run has returned.
func NewRedis(client redis.UniversalClient, timeout time.Duration) *Redis {
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	return &Redis{client: client, timeout: timeout}
}

// markKey names the high-water mark; the braces put it into the slot of the channel's stream in a Redis Cluster.
func markKey(channel, origin string) string {
	return "matchrelay:{" + channel + "}:hwm:" + origin
}

// keys of a script that may add to a stream.
func keys(channel, origin string, s *Stream) []string {
	if s == nil {
		return []string{markKey(channel, origin)}
	}
	return []string{markKey(channel, origin), StreamKey(channel)}
}

func sequenceArg(n uint64) string { return strconv.FormatUint(n, 10) }

// streamArgs are the arguments 10 to 14 of the scripts that add to a stream.
func streamArgs(origin string, s *Stream) []any {
	if s == nil {
		return []any{"", "", "", "", ""}
	}
	return []any{s.MaxLen, s.Source, s.Topic, s.Schema, origin}
}

func eventArgs(args []any, e outbox.Entry, s *Stream) []any {
	args = append(args, sequenceArg(e.Sequence), e.MessageID, e.Payload)
	if s != nil {
		args = append(args, e.AppendedAt.Format(time.RFC3339Nano))
	}
	return args
}

func ttlArg() int { return int(markTTL / time.Second) }

// Publish implements Target.
func (r *Redis) Publish(ctx context.Context, batches ...Batch) ([]Reply, error) {
	size := 0
	for _, b := range batches {
		size += sizeOf(b.Events)
	}
	wait := batches[0].Wait
	ctx, cancel := r.deadline(ctx, size, wait.Timeout)
	defer cancel()
	pipe, err := r.pipeline(ctx, batches[0])
	if err != nil {
		return nil, err
	}
	receivers, partial, err := r.receivers(ctx, batches[0].Channel)
	if err != nil {
		return nil, r.failed(err)
	}
	cmds := make([]*redis.Cmd, len(batches))
	for i, b := range batches {
		args := make([]any, 0, 14+4*len(b.Events))
		args = append(args, b.Channel, b.Run, sequenceArg(b.Predecessor.Sequence), b.Predecessor.MessageID, b.Receivers, receivers,
			ttlArg(), sequenceArg(b.Added.Sequence), b.Added.MessageID)
		args = append(args, streamArgs(b.Origin, b.Stream)...)
		for _, e := range b.Events {
			args = eventArgs(args, e, b.Stream)
		}
		cmds[i] = publishScript.EvalSha(ctx, pipe, keys(b.Channel, b.Origin, b.Stream), args...)
	}
	var replicas *redis.Cmd
	if wait.Replicas > 0 {
		replicas = pipe.Do(ctx, "WAIT", wait.Replicas, max(1, wait.Timeout.Milliseconds()))
	}
	_, failed := pipe.Exec(ctx)
	replies := make([]Reply, 0, len(batches))
	for _, cmd := range cmds {
		reply, err := readReply(cmd)
		if err != nil && cmd.Err() == nil && failed != nil {
			err = failed // no connection: the commands never got an error of their own
		}
		if err != nil {
			if wait.Replicas > 0 {
				replies = nil // WAIT has not answered either
			}
			return replies, r.failed(err)
		}
		reply.Partial = partial
		if replies = append(replies, reply); reply.Outcome != OK {
			break
		}
	}
	r.answered.Store(true)
	if replicas != nil {
		if n, err := replicas.Int(); err != nil {
			return nil, r.failed(err)
		} else if n < wait.Replicas {
			return nil, &ReplicasError{Want: wait.Replicas, Have: n, Within: wait.Timeout}
		}
	}
	return replies, nil
}

// failed makes a failed call easier to understand, and to mend.
func (r *Redis) failed(err error) error {
	encrypted := false
	lookAgain(r.client)
	r.nodes.forget()
	switch client := r.client.(type) {
	case *redis.ClusterClient:
		encrypted = client.Options().TLSConfig != nil
	case *redis.Client:
		encrypted = client.Options().TLSConfig != nil
	}
	// A plain port never answers a TLS handshake, one that takes TLS only closes plain connections.
	if !r.answered.Load() && (isTimeout(err) || isClosed(err)) {
		return &DialError{TLS: encrypted, Err: err}
	}
	return err
}

// lookAgain has a client of a Cluster ask who has which slots, after a failure: it does so only now and then by itself.
func lookAgain(client redis.UniversalClient) {
	if cluster, ok := client.(*redis.ClusterClient); ok {
		cluster.ReloadState(context.Background())
	}
}

// sizeOf is the number of bytes of the events' payloads.
func sizeOf(events []outbox.Entry) (size int) {
	for _, e := range events {
		size += len(e.Payload)
	}
	return size
}

// ReplicasError says that fewer replicas than wanted have confirmed a call.
type ReplicasError struct {
	Want, Have int
	Within     time.Duration
}

func (e *ReplicasError) Error() string {
	return fmt.Sprintf("%d of %d replicas have confirmed within %v", e.Have, e.Want, e.Within)
}

// Republish implements Target.
func (r *Redis) Republish(ctx context.Context, b Batch) (Reply, error) {
	args := []any{b.Channel, b.Run, ttlArg()}
	for _, e := range b.Events {
		args = append(args, sequenceArg(e.Sequence), e.Payload)
	}
	ctx, cancel := r.deadline(ctx, sizeOf(b.Events), 0)
	defer cancel()
	return readReply(republishScript.EvalSha(ctx, r.client, []string{markKey(b.Channel, b.Origin)}, args...))
}

// Restore implements Target.
func (r *Redis) Restore(ctx context.Context, p Repair) (Reply, error) {
	ctx, cancel := r.deadline(ctx, sizeOf(p.Events), 0)
	defer cancel()
	var args []any
	for _, m := range []outbox.Mark{p.Reported.Published, p.Reported.Added, p.Set.Published, p.Set.Added} {
		args = append(args, sequenceArg(m.Sequence), m.MessageID)
	}
	args = append(args, p.Channel)
	args = append(args, streamArgs(p.Origin, p.Stream)...)
	args = append(args, ttlArg())
	for _, e := range p.Events {
		args = eventArgs(args, e, p.Stream)
	}
	return readReply(restoreScript.EvalSha(ctx, r.client, keys(p.Channel, p.Origin, p.Stream), args...))
}

// Newest implements Target.
func (r *Redis) Newest(ctx context.Context, channel string, origins []string, before string) (Entry, error) {
	for {
		from := "+"
		if before != "" {
			from = "(" + before
		}
		args := []any{from, batchEvents, batchBytes}
		for _, origin := range origins {
			args = append(args, origin)
		}
		callCtx, cancel := r.deadline(ctx, batchBytes, 0)
		found, err := newestScript.EvalSha(callCtx, r.client, []string{StreamKey(channel)}, args...).StringSlice()
		cancel()
		switch {
		case err != nil:
			return Entry{}, err
		case found[0] == "FOUND":
			sequence, err := strconv.ParseUint(found[3], 10, 64)
			return Entry{ID: found[1], Origin: found[2], Mark: outbox.Mark{Sequence: sequence, MessageID: found[4]}}, err
		case found[0] == "END":
			return Entry{}, nil
		case ctx.Err() != nil:
			return Entry{}, ctx.Err()
		}
		before = found[1]
	}
}

// deadline bounds a call by its size and what it waits for beyond. It outlives the cancellation of ctx: what was sent is waited for, so that a clean
// shutdown settles what Redis accepted.
func (r *Redis) deadline(ctx context.Context, size int, more time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), r.timeout+time.Duration(size>>20)*time.Second+more)
}

// readReply parses {status, seq, id, run_id, receivers, published, error, stream_seq, stream_id, unheard...}.
func readReply(cmd *redis.Cmd) (Reply, error) {
	values, err := cmd.Slice()
	if err != nil {
		return Reply{}, err
	}
	if len(values) < 9 {
		return Reply{}, fmt.Errorf("script answered %d values, expected at least 9", len(values))
	}
	p := replyParser{}
	reply := Reply{
		Outcome:   Outcome(p.text(values[0])),
		Mark:      outbox.Mark{Sequence: uint64(p.number(values[1])), MessageID: p.text(values[2])},
		Run:       p.text(values[3]),
		Receivers: int(p.number(values[4])),
		Published: int(p.number(values[5])),
		Added:     outbox.Mark{Sequence: uint64(p.number(values[7])), MessageID: p.text(values[8])},
	}
	if text := p.text(values[6]); text != "" {
		reply.Err = scriptError(text)
	}
	for _, v := range values[9:] {
		reply.Unheard = append(reply.Unheard, uint64(p.number(v)))
	}
	return reply, p.err
}

type replyParser struct{ err error }

func (p *replyParser) text(v any) string {
	s, ok := v.(string)
	if !ok {
		p.err = fmt.Errorf("script answered a %T, expected text", v)
	}
	return s
}

func (p *replyParser) number(v any) int64 {
	if n, ok := v.(int64); ok {
		return n
	}
	n, err := strconv.ParseInt(p.text(v), 10, 64)
	if err != nil && p.err == nil {
		p.err = fmt.Errorf("script answered a malformed number")
	}
	return n
}

// scriptError is an error that a command within a script met with. Redis passes its text only.
type scriptError string

func (e scriptError) Error() string { return string(e) }

// RedisError makes it one for go-redis.
func (scriptError) RedisError() {}
