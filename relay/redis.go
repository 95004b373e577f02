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

	ourScripts = []*redis.Script{publishScript, republishScript, restoreScript, newestScript}
)

// Redis is the Target.
type Redis struct {
	client   redis.UniversalClient
	discreet discreet // about what scripts met with
	timeout  time.Duration
	answered atomic.Bool // a call has succeeded once
	nodes    nodeList
	timeouts timeouts
	aborted  context.Context // ends every call
	abort    context.CancelFunc
}

// NewRedis makes a target of a client from NewClient. timeout bounds a call with little data (0 or less means 5 s); a call
// gets a second more for each megabyte, and up to four times as long when the same events have timed out before. The client stays the caller's to close, after Run has returned.
func NewRedis(client redis.UniversalClient, timeout time.Duration) *Redis {
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	r := &Redis{client: client, discreet: discreetClient(client), timeout: timeout}
	r.aborted, r.abort = context.WithCancel(context.Background())
	return r
}

// Abort ends every call that is under way, also one that waits for a connection, and every later one, so that Relay.Run returns
// soon after its context has ended. What Redis has taken, and nobody knows of, it refuses when it is sent again.
func (r *Redis) Abort() { r.abort() }

// MarkKey names the hash that holds the high-water mark of a channel and an outbox (Stats.Origin); the braces put it into the slot of the channel's stream in a Redis Cluster.
func MarkKey(channel, origin string) string {
	return "matchrelay:{" + channel + "}:hwm:" + origin
}

// keys of a script that may add to a stream.
func keys(channel, origin string, s *Stream) []string {
	if s == nil {
		return []string{MarkKey(channel, origin)}
	}
	return []string{MarkKey(channel, origin), StreamKey(channel)}
}

func sequenceArg(n uint64) string { return strconv.FormatUint(n, 10) }

// streamArgs are the arguments 10 to 14 of the scripts that add to a stream.
func streamArgs(origin string, s *Stream) []any {
	if s == nil {
		return []any{"", "", "", "", ""}
	}
	return []any{fmt.Sprint(s.MaxLen, " ", max(s.MaxLen, s.MaxUnread)), s.Source, s.Topic, s.Schema, origin}
}

// packed is sequence, message ID and, with a stream, time of each event in one argument. None of them has spaces.
func packed(events []outbox.Entry, s *Stream) []byte {
	b := make([]byte, 0, 80*len(events))
	for _, e := range events {
		b = strconv.AppendUint(b, e.Sequence, 10)
		b = append(append(append(b, ' '), e.MessageID...), ' ')
		if s != nil {
			b = append(e.AppendedAt.AppendFormat(b, time.RFC3339Nano), ' ')
		}
	}
	return b
}

func ttlArg() int { return int(markTTL / time.Second) }

// Publish implements Target.
func (r *Redis) Publish(ctx context.Context, batches ...Batch) ([]Reply, error) {
	size := 0
	for _, b := range batches {
		size += sizeOf(b.Events)
	}
	ctx, end := r.carry(ctx, batches[0].Channel, size, batches[0].Wait.Timeout)
	replies, err := r.publish(ctx, batches)
	end(err)
	return replies, err
}

func (r *Redis) publish(ctx context.Context, batches []Batch) ([]Reply, error) {
	wait := batches[0].Wait
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
		args := make([]any, 0, 17+len(b.Events))
		args = append(args, b.Channel, b.Run, sequenceArg(b.Predecessor.Sequence), b.Predecessor.MessageID, b.Receivers, receivers,
			ttlArg(), sequenceArg(b.Added.Sequence), b.Added.MessageID)
		args = append(args, streamArgs(b.Origin, b.Stream)...)
		args = append(args, packed(b.Events, b.Stream))
		last := outbox.Mark{Sequence: b.Stored}
		if n := len(b.Events); n > 0 {
			last = mark(b.Events[n-1])
		}
		args = append(args, sequenceArg(last.Sequence), last.MessageID)
		for _, e := range b.Events {
			args = append(args, e.Payload)
		}
		cmds[i] = publishScript.EvalSha(ctx, pipe, keys(b.Channel, b.Origin, b.Stream), args...)
	}
	var replicas *redis.Cmd
	if wait.Replicas > 0 {
		replicas = pipe.Do(ctx, "WAIT", wait.Replicas, max(1, wait.Timeout.Milliseconds()))
	}
	_, failed := pipe.Exec(ctx)
	replies := make([]Reply, 0, len(batches))
	for i, cmd := range cmds {
		reply, err := r.read(cmd)
		if err != nil && cmd.Err() == nil && failed != nil {
			err = failed // no connection: the commands never got an error of their own
		}
		switch {
		case err != nil:
		case reply.Outcome == OK && reply.Mark != end(batches[i]):
			err = strange("a script has done everything, but the high-water mark is another one")
		case reply.Outcome == Refused && len(batches[i].Events) == 0:
			err = strange("a script could not publish, but it had nothing to")
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

// read is readReply, with an error in it that may be shown.
func (r *Redis) read(cmd *redis.Cmd) (Reply, error) {
	reply, err := readReply(cmd)
	reply.Err = r.discreet.of(reply.Err)
	return reply, err
}

// end is the high-water mark once the batch is published.
func end(b Batch) outbox.Mark {
	if n := len(b.Events); n > 0 {
		return mark(b.Events[n-1])
	}
	return b.Predecessor
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
	ctx, end := r.carry(ctx, b.Channel, sizeOf(b.Events), 0)
	reply, err := r.republish(ctx, b)
	end(err)
	return reply, err
}

func (r *Redis) republish(ctx context.Context, b Batch) (Reply, error) {
	receivers, _, err := r.receivers(ctx, b.Channel)
	if err != nil {
		return Reply{}, r.failed(err)
	}
	args := []any{b.Channel, b.Run, b.Receivers, receivers, ttlArg()}
	for _, e := range b.Events {
		args = append(args, sequenceArg(e.Sequence), e.Payload)
	}
	return r.read(republishScript.EvalSha(ctx, r.client, []string{MarkKey(b.Channel, b.Origin)}, args...))
}

// Restore implements Target.
func (r *Redis) Restore(ctx context.Context, p Repair) (Reply, error) {
	ctx, end := r.carry(ctx, p.Channel, sizeOf(p.Events), 0)
	var args []any
	for _, m := range []outbox.Mark{p.Reported.Published, p.Reported.Added, p.Set.Published, p.Set.Added} {
		args = append(args, sequenceArg(m.Sequence), m.MessageID)
	}
	args = append(args, p.Channel)
	args = append(args, streamArgs(p.Origin, p.Stream)...)
	args = append(args, ttlArg())
	for i, e := range p.Events {
		args = append(args, sequenceArg(e.Sequence), sequenceArg(p.Predecessors[i]), e.MessageID, e.Payload,
			e.AppendedAt.Format(time.RFC3339Nano))
	}
	reply, err := r.read(restoreScript.EvalSha(ctx, r.client, keys(p.Channel, p.Origin, p.Stream), args...))
	end(err)
	return reply, err
}

// Newest implements Target.
func (r *Redis) Newest(ctx context.Context, channel string, before string) ([]Entry, error) {
	from := "+"
	if before != "" {
		from = "(" + before
	}
	ctx, cancel := r.deadline(ctx, batchBytes, 0)
	defer cancel()
	values, err := newestScript.EvalSha(ctx, r.client, []string{StreamKey(channel)}, from, batchEvents, batchBytes).StringSlice()
	if err != nil {
		return nil, err
	}
	return readEntries(values, before)
}
