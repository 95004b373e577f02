package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/PitchConnect/matchrelay/outbox"
)

// Feature is a part of the relay that takes rights of its own.
type Feature string

// Features.
const (
	Always   Feature = ""
	Streams  Feature = "streams"  // RELAY_STREAMS
	Replicas Feature = "replicas" // RELAY_WAIT_REPLICAS
	Cluster  Feature = "cluster"  // several nodes in REDIS_URL
)

// Need is a command that the relay gives Redis, and the right that it takes.
type Need struct {
	Right    string // of the command, as ACL SETUSER takes it
	On       string // the right for what it is done to, "" when that is nothing: a key or channel pattern
	For      string // what the relay does with it
	Optional bool   // events are delivered without it
	Feature  Feature
	call     string // the command as the check gives it
}

// In the needs' calls and patterns these stand for the names that belong to a channel.
const (
	markWord    = "<mark>"
	streamWord  = "<stream>"
	channelWord = "<channel>"
)

const (
	onMark    = "~matchrelay:*"
	onStream  = "~" + streamWord
	onChannel = "&" + channelWord
)

// needs are all commands that the relay gives, the scripts' own included. A new one belongs here.
var needs = []Need{
	{"+hello", "", "to log in", false, Always, "HELLO"},
	{"+evalsha", onMark, "to run its scripts", false, Always, "EVALSHA 0 1 " + markWord},
	{"+script|load", "", "to load them", false, Always, "SCRIPT LOAD x"},
	{"+hmget", onMark, "to read its high-water mark", false, Always, "HMGET " + markWord + " seq"},
	{"+hset", onMark, "to move it", false, Always, "HSET " + markWord + " seq 1"},
	{"+expire", onMark, "to keep it", false, Always, "EXPIRE " + markWord + " 1"},
	{"+publish", onChannel, "to publish", false, Always, "PUBLISH " + channelWord + " x"},
	{"+xadd", onStream, "to add to the stream", false, Streams, "XADD " + streamWord + " * f v"},
	{"+exists", onStream, "to see whether the stream is there", false, Streams, "EXISTS " + streamWord},
	{"+xrevrange", onStream, "to see what the stream holds", false, Streams, "XREVRANGE " + streamWord + " + -"},
	{"+xlen", onStream, keepUnread, true, Streams, "XLEN " + streamWord},
	{"+xinfo|groups", onStream, keepUnread, true, Streams, "XINFO GROUPS " + streamWord},
	{"+xpending", onStream, keepUnread, true, Streams, "XPENDING " + streamWord + " x"},
	{"+xtrim", onStream, keepUnread, true, Streams, "XTRIM " + streamWord + " MAXLEN 1"},
	{"+wait", "", "to wait for replicas", false, Replicas, "WAIT 0 0"},
	{"+cluster|slots", "", "to find the nodes", false, Cluster, "CLUSTER SLOTS"},
	{"+asking", "", "to follow a slot that is being moved", true, Cluster, "ASKING"},
	{"+command", "", "to find a command's node at once", true, Cluster, "COMMAND"},
	{"+cluster|info", "", "to see the Cluster's state", true, Cluster, "CLUSTER INFO"},
	{"+info", "", "to notice that Redis has died", true, Always, "INFO"},
	{"+pubsub|numsub", "", "to count subscribers", true, Always, "PUBSUB NUMSUB " + channelWord},
	{"+client|list", "", "to spare slow subscribers", true, Always, "CLIENT LIST"},
	{"+config|get", "", checkUp, true, Always, "CONFIG GET x"},
	{"+type", onStream, checkUp, true, Streams, "TYPE " + streamWord},
}

// keepUnread is what the needs are for by which a stream keeps what its consumer groups have still to read.
const keepUnread = "to keep what consumer groups have not read"

// checkUp is what a need is for that Examine has, not the relay.
const checkUp = "for this check-up only"

// rightsOf lists the relay's rights to give commands, each with a space before it.
func rightsOf(f Feature, optional bool) (list string) {
	for _, n := range needs {
		if n.Feature == f && n.Optional == optional && n.For != checkUp {
			list += " " + n.Right
		}
	}
	return list
}

// Question is what Examine shall look at.
type Question struct {
	Channels []string
	Origin   string    // of the outbox file, "" when there is none
	Features []Feature // that are on; Cluster is found out
}

// Needs are the commands that the relay gives, for each channel where the channel matters.
func (q Question) Needs() (list []Need) {
	for _, n := range needs {
		if n.Feature != Always && !slices.Contains(q.Features, n.Feature) {
			continue
		}
		for _, channel := range q.Channels {
			about := n
			names := strings.NewReplacer(markWord, MarkKey(channel, q.Origin), streamWord, StreamKey(channel), channelWord, channel)
			about.On, about.call = names.Replace(n.On), names.Replace(n.call)
			list = append(list, about)
			if n.On == "" {
				break
			}
		}
	}
	return list
}

// Node is what one Redis process tells of itself and of the user who asks.
type Node struct {
	Addr                string            // "FailoverClient" behind Sentinels
	Version, Mode, Role string            // of HELLO, or else of INFO: "7.0.15", "standalone" or "cluster", "master" or "replica"
	Info                map[string]string // the fields of INFO
	At                  time.Time         // the time here when INFO was answered, as good as half a round trip
	Settings            map[string]string // of CONFIG GET: those that have to do with the relay
	Cluster             map[string]string // the fields of CLUSTER INFO
	Receivers           map[string]int64  // subscribers of each channel on this node
	Rights              []Right           // of each need, for each channel; nil when Redis is too old to tell
	Unseen              map[string]error  // why something above is missing, by the right that it takes
	Err                 error             // the node does not answer, or lets nobody in; the rest is missing then
}

// Right says whether the user may do what the relay needs.
type Right struct {
	Need
	Permitted bool
	Unknown   bool // Redis has no such command, or it was renamed
}

// Examine asks Redis, or each node of a Cluster, what it is and what it permits. It writes no key and publishes nothing,
// and needs no right beyond the relay's own: what takes more is missing from the answer. Each command is waited for as long
// as NewRedis was told. The error is why no node can be asked; Explain knows the mend.
func (r *Redis) Examine(ctx context.Context, q Question) ([]Node, error) {
	if single, ok := r.client.(*redis.Client); ok {
		n := r.examine(ctx, single, q)
		return []Node{n}, n.Err
	}
	cluster, ok := r.client.(*redis.ClusterClient)
	if !ok {
		return nil, fmt.Errorf("cannot examine a %T; expected a client of NewClient", r.client)
	}
	q.Features = append(slices.Clone(q.Features), Cluster)
	finding, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	var mu sync.Mutex
	var nodes []Node
	err := cluster.ForEachShard(finding, func(_ context.Context, c *redis.Client) error {
		n := r.examine(ctx, c, q)
		mu.Lock()
		defer mu.Unlock()
		nodes = append(nodes, n)
		return nil
	})
	slices.SortFunc(nodes, func(a, b Node) int { return strings.Compare(a.Addr, b.Addr) })
	for _, n := range nodes {
		if n.Err == nil {
			return nodes, nil
		}
		err = n.Err
	}
	return nodes, err
}

// Mark reads the high-water mark that Redis keeps for a channel and the outbox file with this origin; the zero mark when
// there is none.
func (r *Redis) Mark(ctx context.Context, channel, origin string) (outbox.Mark, error) {
	return r.mark(ctx, channel, origin, "seq", "id")
}

// StreamMark is Mark for what the channel's stream was given, and says whether the stream is there at all.
func (r *Redis) StreamMark(ctx context.Context, channel, origin string) (m outbox.Mark, there bool, err error) {
	if m, err = r.mark(ctx, channel, origin, "stream_seq", "stream_id"); err != nil {
		return m, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	n, err := r.client.Exists(ctx, StreamKey(channel)).Result()
	if err != nil {
		return m, false, fmt.Errorf("look for the stream of %s: %w", channel, err)
	}
	return m, n > 0, nil
}

func (r *Redis) mark(ctx context.Context, channel, origin, sequence, id string) (outbox.Mark, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	// By Do: the HMGet of go-redis takes any reply for a list.
	values, err := r.client.Do(ctx, "HMGET", MarkKey(channel, origin), sequence, id).Slice()
	if err == nil && len(values) != 2 {
		err = strange("HMGET answered %d values; expected 2", len(values))
	}
	if err != nil {
		return outbox.Mark{}, fmt.Errorf("read the high-water mark of %s: %w", channel, err)
	}
	if values[0] == nil || values[1] == nil {
		return outbox.Mark{}, nil
	}
	p := replyParser{}
	mark := p.mark(values[0], values[1])
	return mark, p.err
}

// StreamType says what Redis holds under the name of the channel's stream: "stream", "none" when there is nothing, or
// something else. It needs the right +type.
func (r *Redis) StreamType(ctx context.Context, channel string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	kind, err := r.client.Type(ctx, StreamKey(channel)).Result()
	return brief(kind, shownOfReply), err
}

// Sentinel is what one Sentinel says of the master.
type Sentinel struct {
	Addr   string
	Master string // its address, "" when the Sentinel does not know the name
	Err    error
}

// Sentinels asks each Sentinel of the options for the master, for at most timeout.
func Sentinels(ctx context.Context, o ClientOptions, timeout time.Duration) []Sentinel {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	found := make([]Sentinel, len(o.Addrs))
	var asking sync.WaitGroup
	for i, addr := range o.Addrs {
		asking.Go(func() {
			client := redis.NewSentinelClient(&redis.Options{
				Addr:                     addr,
				Username:                 o.SentinelUsername,
				Password:                 o.SentinelPassword,
				Dialer:                   guarded(o.dialer(cmp.Or(o.DialTimeout, defaultTimeout)), sentinelBytes),
				MaxRetries:               -1,
				DialerRetries:            1,
				ContextTimeoutEnabled:    true,
				Protocol:                 2,
				DisableIdentity:          true,
				MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
			})
			defer client.Close()
			client.AddHook(discreetAbout([]string{o.SentinelPassword}, []string{o.SentinelUsername}))
			host, err := client.GetMasterAddrByName(ctx, o.SentinelMaster).Result()
			found[i] = Sentinel{Addr: addr}
			switch {
			case err == nil && len(host) == 2:
				found[i].Master = brief(net.JoinHostPort(host[0], host[1]), shownOfReply)
			case !errors.Is(err, redis.Nil):
				found[i].Err = err
			}
		})
	}
	asking.Wait()
	return found
}

// Explain classifies an error of Redis as the relay does. The mend is what an operator can do, "" when waiting is all.
func Explain(err error) (class Class, mend string) {
	f := classify(err)
	return f.class, f.mend
}

// Forbidden says whether an error means that the user lacks a right.
func Forbidden(err error) bool { return redis.IsPermissionError(err) }
