package redistest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Cluster is a Redis Cluster of its own processes. A replica takes over some
// seconds after its master has died. Replicas stay with their master's slots:
// none moves to a master that has lost its own.
type Cluster struct {
	t       testing.TB
	Servers []*Server // the masters, then the replicas, as it was set up

	shards map[*Server]int    // which master's slots it was set up for; a replica may become the master of them
	ids    map[*Server]string // that nodes call each other by
}

// nodeTimeout is when a node that does not answer counts as dead: not one that
// a busy machine only keeps waiting.
const nodeTimeout = 3 * time.Second

// StartCluster starts a cluster with so many replicas for each master, and
// returns when it is healthy. The options are those of each server.
func StartCluster(t testing.TB, masters, replicas int, opts Options) *Cluster {
	t.Helper()
	if masters < 3 || opts.ReplicaOf != nil {
		t.Fatal("a cluster has at least 3 masters, and decides itself who is a replica of whom")
	}
	c := &Cluster{t: t, shards: map[*Server]int{}, ids: map[*Server]string{}}
	for i := range masters * (1 + replicas) {
		// The nodes talk to each other on the port that is 10000 above, which must be
		// below the ports of outgoing connections, too.
		port := freePorts(t, 15000, 22000, 10000)
		s := newServer(t, port, append(opts.lines(),
			"cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-announce-ip 127.0.0.1",
			fmt.Sprint("cluster-node-timeout ", nodeTimeout.Milliseconds()), "cluster-allow-replica-migration no"))
		c.Servers, c.shards[s] = append(c.Servers, s), i%masters
	}
	for i, s := range c.Servers {
		s.Start()
		c.ids[s] = fmt.Sprint(c.do(s, "CLUSTER", "MYID"))
		c.do(s, "CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1)) // so that they need not settle who has which
		if i < masters {
			c.do(s, "CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(i*slots/masters), fmt.Sprint((i+1)*slots/masters-1))
		}
		if i > 0 {
			c.do(s, "CLUSTER", "MEET", "127.0.0.1", fmt.Sprint(c.Servers[0].port))
		}
	}
	waitUntil(t, "nodes that know each other", func() string {
		for _, s := range c.Servers {
			if nodes, err := s.nodes(); err != nil || len(nodes) != len(c.Servers) || slices.ContainsFunc(nodes, func(n node) bool { return n.is("handshake") }) {
				return fmt.Sprintf("%s knows %d nodes: %v", s.Addr(), len(nodes), err)
			}
		}
		return ""
	})
	for _, s := range c.Servers[masters:] {
		c.do(s, "CLUSTER", "REPLICATE", c.ids[c.Servers[c.shards[s]]])
	}
	c.WaitHealthy()
	return c
}

// do sends a command that must succeed.
func (c *Cluster) do(s *Server, words ...string) any {
	c.t.Helper()
	reply, err := command(s.Addr(), answerWithin, words...)
	if err != nil {
		c.t.Fatalf("%s: %v", s.Addr(), err)
	}
	return reply
}

// nodes is the cluster as one server sees it.
func (s *Server) nodes() ([]node, error) {
	reply, err := command(s.Addr(), answerWithin, "CLUSTER", "NODES")
	text, _ := reply.(string)
	return parseNodes(text), err
}

// Addrs are those of all nodes, dead ones too.
func (c *Cluster) Addrs() []string { return addrs(c.Servers) }

// Client returns a client of the cluster, closed with the test.
func (c *Cluster) Client() *redis.ClusterClient {
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs(), DialerRetries: 1, ContextTimeoutEnabled: true})
	c.t.Cleanup(func() { _ = client.Close() })
	return client
}

// claims are what the living nodes say of themselves. It asks all at once.
func (c *Cluster) claims() map[*Server]node {
	var (
		mu     sync.Mutex
		group  sync.WaitGroup
		claims = map[*Server]node{}
	)
	for _, s := range c.Servers {
		if !s.up.Load() {
			continue
		}
		group.Go(func() {
			nodes, err := s.nodes()
			if err != nil {
				return // it has just died
			}
			for _, n := range nodes {
				if n.is("myself") {
					mu.Lock()
					claims[s] = n
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	return claims
}

// MasterOf is the living node that says now that it is the master of the key's
// slot, or nil if none does. Like AddrOf and ReplicaOf, it may be called from
// any goroutine.
func (c *Cluster) MasterOf(key string) *Server {
	return owner(c.claims(), SlotOf(key))
}

// owner is the one with the newest claim: a master that was thawed takes a
// moment to see that it has been replaced.
func owner(claims map[*Server]node, slot int) *Server {
	var newest *Server
	for s, n := range claims {
		if n.is("master") && n.has(slot) && (newest == nil || n.epoch > claims[newest].epoch) {
			newest = s
		}
	}
	return newest
}

// AddrOf is the address of the key's master, or "" if it has none: for the
// Resolve of a subscriber.
func (c *Cluster) AddrOf(key string) string {
	if s := c.MasterOf(key); s != nil {
		return s.Addr()
	}
	return ""
}

// ReplicaOf is a living node that says now that it is a replica of the key's
// master, or nil if none does.
func (c *Cluster) ReplicaOf(key string) *Server {
	claims := c.claims()
	master := owner(claims, SlotOf(key))
	for _, s := range c.Servers {
		if n, ok := claims[s]; ok && master != nil && n.master == c.ids[master] {
			return s
		}
	}
	return nil
}

// WaitHealthy returns when all living nodes find the cluster well, a living
// master has each slot, and each living replica is in touch with a living
// master, so that it can take over from it.
func (c *Cluster) WaitHealthy() {
	c.t.Helper()
	waitUntil(c.t, "a healthy cluster", c.problem)
}

func (c *Cluster) problem() string {
	claims := c.claims()
	masters, served := map[string]bool{}, 0
	for s, n := range claims {
		if n.is("master") {
			masters[c.ids[s]] = true
			for _, r := range n.slots {
				served += r[1] - r[0] + 1
			}
		}
	}
	if served != slots {
		return fmt.Sprintf("living masters serve %d slots", served)
	}
	for _, s := range c.Servers {
		if !s.up.Load() {
			continue
		}
		reply, err := command(s.Addr(), answerWithin, "CLUSTER", "INFO")
		info := sections(reply)
		if err != nil || info["cluster_state"] != "ok" || info["cluster_slots_ok"] != fmt.Sprint(slots) {
			return fmt.Sprintf("%s finds the cluster %q, with %s good slots: %v", s.Addr(), info["cluster_state"], info["cluster_slots_ok"], err)
		}
		if claims[s].is("master") {
			continue
		}
		own, err := s.replication()
		if err != nil || own["master_link_status"] != "up" || !masters[claims[s].master] {
			return fmt.Sprintf("the replica %s has no master: its link is %q: %v", s.Addr(), own["master_link_status"], err)
		}
	}
	return ""
}

// WaitPromoted returns the server that has taken over from one that is dead or
// frozen, when all living nodes know.
func (c *Cluster) WaitPromoted(dead *Server) *Server {
	c.t.Helper()
	var promoted *Server
	waitUntil(c.t, "a replica in place of "+dead.Addr(), func() string {
		promoted = nil
		claims := c.claims()
		for s, n := range claims {
			if s != dead && c.shards[s] == c.shards[dead] && n.is("master") {
				promoted = s
			}
		}
		if promoted == nil {
			return "none of them has"
		}
		for s := range claims {
			nodes, err := s.nodes()
			if err != nil || !slices.ContainsFunc(nodes, func(n node) bool {
				return n.id == c.ids[promoted] && n.is("master") && len(n.slots) == len(claims[promoted].slots)
			}) {
				return fmt.Sprintf("%s does not know of %s: %v", s.Addr(), promoted.Addr(), err)
			}
		}
		return ""
	})
	return promoted
}
