package relay

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// nodeTimeout bounds a question to one node of a Cluster: one that hangs must not hold up the others for long.
	nodeTimeout = 500 * time.Millisecond
	// nodesFor is how long the list of a Cluster's nodes is good: go-redis asks for it anew each time, and keeps the answer for
	// a minute.
	nodesFor = time.Second
)

// unknownReceivers tells the script that nobody knows how many subscribers there are; thisNode, that its own node does.
const (
	thisNode         = -1
	unknownReceivers = -2
)

// What a Cluster has at most. go-redis makes a client for each node that it is told of.
const (
	clusterSlots = 16384
	clusterNodes = 1000
)

// subscribersListed is how many lines CLIENT LIST has at most, whose shortest have some 150 bytes, and infoLines what INFO has. What
// is no Redis could fill a reply with lines that are almost empty, and take much more memory than it has bytes.
const (
	subscribersListed = answerBytes / 100
	infoLines         = 10_000
)

// fewNodes is a redis.Hook that refuses a Cluster that cannot be one.
type fewNodes struct{}

// DialHook changes nothing.
func (fewNodes) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook changes nothing.
func (fewNodes) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook looks at what CLUSTER SLOTS answers.
func (fewNodes) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if slots, ok := cmd.(*redis.ClusterSlotsCmd); ok && err == nil {
			nodes := map[string]bool{}
			for _, slot := range slots.Val() {
				for _, node := range slot.Nodes {
					nodes[node.Addr] = true
				}
			}
			if len(slots.Val()) > clusterSlots || len(nodes) > clusterNodes {
				err = strange("a Cluster of %d nodes and %d ranges of slots", len(nodes), len(slots.Val()))
				cmd.SetErr(err)
			}
		}
		return err
	}
}

// nodeList is what the nodes of a Cluster were a moment ago.
type nodeList struct {
	mu    sync.Mutex
	nodes []*redis.Client // guarded by mu: masters and replicas
	until time.Time       // guarded by mu: when to look again
}

func (l *nodeList) get(ctx context.Context, cluster *redis.ClusterClient) ([]*redis.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Now().Before(l.until) {
		return l.nodes, nil
	}
	// go-redis asks any node, perhaps one that hangs: then it takes the nodes that it knows.
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	var mu sync.Mutex
	var nodes []*redis.Client
	if err := cluster.ForEachShard(ctx, func(_ context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		nodes = append(nodes, node)
		return nil
	}); err != nil {
		return nil, err
	}
	l.nodes, l.until = nodes, time.Now().Add(nodesFor)
	return nodes, nil
}

// forget makes the next get look again.
func (l *nodeList) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = time.Time{}
}

// eachNode asks all nodes of a Cluster at once, replicas too. It fails when none has an answer: with what one of them said, if
// any did, rather than with why another was not reached.
func (r *Redis) eachNode(ctx context.Context, cluster *redis.ClusterClient, ask func(ctx context.Context, node *redis.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	return r.eachNodeInTime(ctx, cluster, ask)
}

// eachNodeInTime gives each node as long as ctx has.
func (r *Redis) eachNodeInTime(ctx context.Context, cluster *redis.ClusterClient, ask func(ctx context.Context, node *redis.Client) error) error {
	nodes, err := r.nodes.get(ctx, cluster)
	if err != nil {
		return err
	}
	errs := make([]error, len(nodes))
	var asking sync.WaitGroup
	for i, node := range nodes {
		asking.Go(func() { errs[i] = ask(ctx, node) })
	}
	asking.Wait()
	var refused redis.Error
	for _, e := range errs {
		switch {
		case e == nil:
			return nil
		case err == nil || errors.As(e, &refused):
			err = e
		}
	}
	return err
}

// Load implements Target. In a Cluster a slot may move to any master, and a replica may become one, so that all get the
// scripts; one that is down gets them later.
func (r *Redis) Load(ctx context.Context) error {
	ctx, cancel := r.deadline(ctx, 0, 0)
	defer cancel()
	cluster, ok := r.client.(*redis.ClusterClient)
	if !ok {
		return load(ctx, r.client)
	}
	r.nodes.forget() // the one without the scripts may have joined just now
	return r.eachNode(ctx, cluster, func(ctx context.Context, node *redis.Client) error { return load(ctx, node) })
}

func load(ctx context.Context, node redis.Scripter) error {
	for _, s := range ourScripts {
		if err := s.Load(ctx, node).Err(); err != nil {
			return fmt.Errorf("load script: %w", err)
		}
	}
	return nil
}

// pipeline of the batch's node. WAIT has no key, and counts only on the connection that wrote.
func (r *Redis) pipeline(ctx context.Context, b Batch) (redis.Pipeliner, error) {
	cluster, ok := r.client.(*redis.ClusterClient)
	if !ok || b.Wait.Replicas == 0 {
		return r.client.Pipeline(), nil
	}
	node, err := cluster.MasterForKey(ctx, MarkKey(b.Channel, b.Origin))
	if err != nil {
		return nil, err
	}
	return node.Pipeline(), nil
}

// receivers is what the script is told of a channel's subscribers. In a Cluster they are anywhere, at replicas too. A node
// that does not answer has none that would get anything.
//
// That every node is asked before each call also keeps the order of the events when a slot has moved: all nodes have
// answered twice, and so have passed on what they had got, before the slot's new node publishes (see connect).
func (r *Redis) receivers(ctx context.Context, channel string) (count int, partial bool, err error) {
	cluster, ok := r.client.(*redis.ClusterClient)
	if !ok {
		return thisNode, false, nil
	}
	var sum atomic.Int64
	var hung atomic.Bool // its subscribers may well be there still
	err = r.eachNode(ctx, cluster, func(ctx context.Context, node *redis.Client) error {
		counts, err := node.PubSubNumSub(ctx, channel).Result()
		n := counts[channel]
		if n < 0 || n > maxReceivers {
			return strange("PUBSUB NUMSUB counts %d subscribers", n)
		}
		sum.Add(n)
		if err != nil && isTimeout(err) {
			hung.Store(true)
		}
		return err
	})
	if err != nil && classify(err).class == Denied {
		return unknownReceivers, false, nil
	}
	return int(sum.Load()), hung.Load(), err
}

// Lives implements Target. It is asked once in a while, and a node that is slow is not dead: it has as long as any call.
func (r *Redis) Lives(ctx context.Context, run string) bool {
	cluster, ok := r.client.(*redis.ClusterClient)
	if !ok {
		return false
	}
	ctx, cancel := r.deadline(ctx, 0, 0)
	defer cancel()
	var lives atomic.Bool
	_ = r.eachNodeInTime(ctx, cluster, func(ctx context.Context, node *redis.Client) error {
		text, err := node.Info(ctx).Result()
		if info := infoFields(text); info["run_id"] == run && info["role"] == "master" {
			lives.Store(true)
			cancel() // whatever the others say
		}
		return err
	})
	return lives.Load()
}

// Buffers implements Target.
func (r *Redis) Buffers(ctx context.Context) (list []Buffer, all bool, err error) {
	ctx, cancel := r.deadline(ctx, 0, 0)
	defer cancel()
	cluster, ok := r.client.(*redis.ClusterClient)
	if !ok {
		return buffers(ctx, r.client)
	}
	var mu sync.Mutex
	err = r.eachNode(ctx, cluster, func(ctx context.Context, node *redis.Client) error {
		some, _, err := buffers(ctx, node)
		mu.Lock()
		defer mu.Unlock()
		list = append(list, some...)
		return err
	})
	return list, false, err
}

// buffers reads CLIENT LIST: a line for each client, of words such as omem=20504. obl is in a fixed buffer, beyond omem. all is
// false where a line says nothing of buffers, as those of some servers that speak Redis's protocol.
func buffers(ctx context.Context, node redis.UniversalClient) (list []Buffer, all bool, err error) {
	text, err := node.Do(ctx, "CLIENT", "LIST", "TYPE", "pubsub").Text()
	if err != nil {
		return nil, false, err
	}
	if n := strings.Count(text, "\n"); n > subscribersListed {
		return nil, false, strange("CLIENT LIST has %d lines; expected at most %d", n, subscribersListed)
	}
	all = true
	for line := range strings.Lines(text) {
		var b Buffer
		told := false
		for _, word := range strings.Fields(line) {
			switch name, value, _ := strings.Cut(word, "="); name {
			case "addr":
				b.Client = brief(value, shownOfReply)
			case "obl", "omem":
				n, err := strconv.ParseInt(value, 10, 64)
				if err != nil || n < 0 || n > maxSequence {
					return nil, false, strange("CLIENT LIST tells no bytes as %s", name)
				}
				b.Bytes += n
				told = true
			}
		}
		list, all = append(list, b), all && told
	}
	return list, all, nil
}
