package relay

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// nodeTimeout bounds a question to every node of a Cluster: one that hangs must not hold up the others.
const nodeTimeout = 500 * time.Millisecond

// unknownReceivers tells the script that nobody knows how many subscribers there are; thisNode, that its own node does.
const (
	thisNode         = -1
	unknownReceivers = -2
)

// Load implements Target. In a Cluster a slot may move to any master, so that all get the scripts; one that is down gets
// them later.
func (r *Redis) Load(ctx context.Context) error {
	ctx, cancel := r.deadline(ctx, 0, 0)
	defer cancel()
	cluster, ok := r.client.(*redis.ClusterClient)
	if !ok {
		return load(ctx, r.client)
	}
	var mu sync.Mutex
	var errs []error
	loaded := 0
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		err := load(ctx, node)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			loaded++
		} else {
			errs = append(errs, err)
		}
		return nil
	})
	if err == nil && loaded == 0 {
		err = errors.Join(errs...)
	}
	return err
}

func load(ctx context.Context, node redis.Scripter) error {
	for _, s := range []*redis.Script{publishScript, republishScript, restoreScript, newestScript} {
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
	node, err := cluster.MasterForKey(ctx, markKey(b.Channel, b.Origin))
	if err != nil {
		return nil, err
	}
	return node.Pipeline(), nil
}

// receivers is what the script is told of a channel's subscribers. In a Cluster they are anywhere, at replicas too.
func (r *Redis) receivers(ctx context.Context, channel string) int {
	cluster, ok := r.client.(*redis.ClusterClient)
	if !ok {
		return thisNode
	}
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	var mu sync.Mutex
	count := unknownReceivers
	_ = cluster.ForEachShard(ctx, func(ctx context.Context, node *redis.Client) error {
		if n, err := node.PubSubNumSub(ctx, channel).Result(); err == nil {
			mu.Lock()
			defer mu.Unlock()
			count = max(count, 0) + int(n[channel])
		}
		return nil // a node that does not answer has no subscribers that would get anything
	})
	return count
}

// Buffers implements Target.
func (r *Redis) Buffers(ctx context.Context) ([]Buffer, error) {
	ctx, cancel := r.deadline(ctx, 0, 0)
	defer cancel()
	cluster, ok := r.client.(*redis.ClusterClient)
	if !ok {
		return buffers(ctx, r.client)
	}
	var mu sync.Mutex
	var all []Buffer
	var first error
	answered := false
	err := cluster.ForEachShard(ctx, func(ctx context.Context, node *redis.Client) error {
		ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
		defer cancel()
		some, err := buffers(ctx, node)
		mu.Lock()
		defer mu.Unlock()
		answered = answered || err == nil
		if first == nil {
			first = err
		}
		all = append(all, some...)
		return nil
	})
	if err == nil && !answered {
		err = first
	}
	return all, err
}

// buffers reads CLIENT LIST: a line for each client, of words such as omem=20504.
func buffers(ctx context.Context, node redis.UniversalClient) ([]Buffer, error) {
	text, err := node.Do(ctx, "CLIENT", "LIST", "TYPE", "pubsub").Text()
	if err != nil {
		return nil, err
	}
	var list []Buffer
	for line := range strings.Lines(text) {
		var b Buffer
		for _, word := range strings.Fields(line) {
			switch name, value, _ := strings.Cut(word, "="); name {
			case "addr":
				b.Client = value
			case "omem":
				b.Bytes, _ = strconv.ParseInt(value, 10, 64)
			}
		}
		list = append(list, b)
	}
	return list, nil
}
