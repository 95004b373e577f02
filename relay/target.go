package relay

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
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
	// Publish sends batches that follow each other in one round trip. The first reply that is not OK ends what was done:
	// every later batch finds its predecessor missing and changes nothing. A batch without events is a guard: it writes
	// the mark again and tells run and receivers.
	Publish(ctx context.Context, batches ...Batch) ([]Reply, error)
	// Republish publishes the batch's events once more within a run of Redis, whatever the mark says.
	Republish(ctx context.Context, b Batch) (Reply, error)
	// Restore replaces a mark that Redis has lost, if it still is what was reported.
	Restore(ctx context.Context, channel, origin string, reported, mark outbox.Mark) (Reply, error)
}

// Batch is a run of events of one topic in order.
type Batch struct {
	Channel     string
	Origin      string
	Run         string         // the Redis run_id to insist on; "" accepts any
	Predecessor outbox.Mark    // what Redis last accepted before the first event
	Receivers   int            // at least so many subscribers, or Redis answers TooFew
	Events      []outbox.Entry // at most some hundred, and about 1 MB
}

// Outcome is what Redis made of a batch.
type Outcome string

// Outcomes.
const (
	OK       Outcome = "OK"   // all published, or seen before
	TooFew   Outcome = "HELD" // too few subscribers; nothing changed
	Lost     Outcome = "LOST" // the mark is neither the predecessor nor an event of the batch; nothing changed
	OtherRun Outcome = "RUN"  // another Redis process than expected; nothing changed
	Refused  Outcome = "ERR"  // published up to Mark, then PUBLISH failed with Err
)

// Reply is Redis's answer to a batch.
type Reply struct {
	Outcome   Outcome
	Mark      outbox.Mark // the high-water mark as it now is
	Run       string      // run_id of the answering process, "" where INFO is not to be had
	Receivers int         // subscribers of the channel, -1 where that is not to be had
	Published int         // events published by this call, repeats not counted
	Unheard   []uint64    // events after the predecessor, up to Mark, that nobody was subscribed to
	Err       error       // with Refused
}

var (
	//go:embed publish.lua
	publishSource string
	//go:embed republish.lua
	republishSource string
	//go:embed restore.lua
	restoreSource string

	publishScript   = redis.NewScript(publishSource)
	republishScript = redis.NewScript(republishSource)
	restoreScript   = redis.NewScript(restoreSource)
)

// Redis is the Target.
type Redis struct {
	client  redis.UniversalClient
	timeout time.Duration
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

func sequenceArg(n uint64) string { return strconv.FormatUint(n, 10) }

// Publish implements Target.
func (r *Redis) Publish(ctx context.Context, batches ...Batch) ([]Reply, error) {
	size := 0
	for _, b := range batches {
		for _, e := range b.Events {
			size += len(e.Payload)
		}
	}
	ctx, cancel := r.deadline(ctx, size)
	defer cancel()
	pipe := r.client.Pipeline()
	cmds := make([]*redis.Cmd, len(batches))
	for i, b := range batches {
		args := make([]any, 0, 7+3*len(b.Events))
		args = append(args, b.Channel, b.Run, sequenceArg(b.Predecessor.Sequence), b.Predecessor.MessageID, b.Receivers, -1,
			int(markTTL/time.Second))
		for _, e := range b.Events {
			args = append(args, sequenceArg(e.Sequence), e.MessageID, e.Payload)
		}
		cmds[i] = publishScript.EvalSha(ctx, pipe, []string{markKey(b.Channel, b.Origin)}, args...)
	}
	_, failed := pipe.Exec(ctx)
	replies := make([]Reply, 0, len(batches))
	for _, cmd := range cmds {
		reply, err := readReply(cmd)
		if err != nil && cmd.Err() == nil && failed != nil {
			err = failed // no connection: the commands never got an error of their own
		}
		if err != nil {
			return replies, err
		}
		if replies = append(replies, reply); reply.Outcome != OK {
			break
		}
	}
	return replies, nil
}

// Republish implements Target.
func (r *Redis) Republish(ctx context.Context, b Batch) (Reply, error) {
	args := []any{b.Channel, b.Run, int(markTTL / time.Second)}
	size := 0
	for _, e := range b.Events {
		args = append(args, sequenceArg(e.Sequence), e.Payload)
		size += len(e.Payload)
	}
	ctx, cancel := r.deadline(ctx, size)
	defer cancel()
	return readReply(republishScript.EvalSha(ctx, r.client, []string{markKey(b.Channel, b.Origin)}, args...))
}

// Restore implements Target.
func (r *Redis) Restore(ctx context.Context, channel, origin string, reported, mark outbox.Mark) (Reply, error) {
	ctx, cancel := r.deadline(ctx, 0)
	defer cancel()
	return readReply(restoreScript.EvalSha(ctx, r.client, []string{markKey(channel, origin)},
		sequenceArg(reported.Sequence), reported.MessageID, sequenceArg(mark.Sequence), mark.MessageID, int(markTTL/time.Second)))
}

// Load puts the scripts into Redis, which forgets them when it restarts.
func (r *Redis) Load(ctx context.Context) error {
	ctx, cancel := r.deadline(ctx, 0)
	defer cancel()
	for _, s := range []*redis.Script{publishScript, republishScript, restoreScript} {
		if err := s.Load(ctx, r.client).Err(); err != nil {
			return fmt.Errorf("load script: %w", err)
		}
	}
	return nil
}

// deadline bounds a call by its size. It outlives the cancellation of ctx: what was sent is waited for, so that a clean
// shutdown settles what Redis accepted.
func (r *Redis) deadline(ctx context.Context, size int) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), r.timeout+time.Duration(size>>20)*time.Second)
}

// readReply parses {status, seq, id, run_id, receivers, published, error, unheard...}.
func readReply(cmd *redis.Cmd) (Reply, error) {
	values, err := cmd.Slice()
	if err != nil {
		return Reply{}, err
	}
	if len(values) < 7 {
		return Reply{}, fmt.Errorf("script answered %d values, expected at least 7", len(values))
	}
	p := replyParser{}
	reply := Reply{
		Outcome:   Outcome(p.text(values[0])),
		Mark:      outbox.Mark{Sequence: uint64(p.number(values[1])), MessageID: p.text(values[2])},
		Run:       p.text(values[3]),
		Receivers: int(p.number(values[4])),
		Published: int(p.number(values[5])),
	}
	if text := p.text(values[6]); text != "" {
		reply.Err = scriptError(text)
	}
	for _, v := range values[7:] {
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
