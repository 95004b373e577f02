package torture

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
)

// refusedBytes is the largest message that Redis takes until the plan is over: the least that can be set. A larger one breaks
// the connection, and only guards tell that from a broken network.
const refusedBytes = 1 << 20

// pair is a master and its replica. Only its actor changes it.
type pair struct {
	t        *testing.T
	master   *redistest.Server
	replica  *redistest.Server
	addr     atomic.Pointer[string] // of the master; any goroutine may read it
	runs     bool                   // the master does
	deaths   int
	promoted int
}

func startPair(t *testing.T) *pair {
	t.Helper()
	opts := redistest.Options{Persistence: redistest.AOF, Config: []string{"proto-max-bulk-len " + strconv.Itoa(refusedBytes)}}
	p := &pair{t: t, master: redistest.Start(t, opts), replica: redistest.Start(t, opts), runs: true}
	p.follow(p.replica, p.master)
	p.replica.WaitInSync()
	return p
}

func (p *pair) name(s *redistest.Server) {
	addr := s.Addr()
	p.addr.Store(&addr)
}

// client is one of the present master.
func (p *pair) client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: *p.addr.Load(), MaxRetries: -1, DialerRetries: 1, ReadTimeout: redistest.Patience,
		ContextTimeoutEnabled: true})
}

// follow makes a server a replica of another one, or a master if that is nil, for good.
func (p *pair) follow(s, master *redistest.Server) {
	p.t.Helper()
	host, port := "NO", "ONE"
	if master != nil {
		var err error
		host, port, err = net.SplitHostPort(master.Addr())
		require.NoError(p.t, err)
	}
	c := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, ReadTimeout: redistest.Patience})
	defer c.Close()
	require.NoError(p.t, c.Do(context.Background(), "REPLICAOF", host, port).Err())
	require.NoError(p.t, c.Do(context.Background(), "CONFIG", "REWRITE").Err())
}

// inSync says whether the replica has by now what the master had when it was called, and would have it after a restart: what
// came with a full resynchronization is in its own log only when that has been written anew.
func (p *pair) inSync() bool {
	due, ok := p.info(p.master)["master_repl_offset"]
	if !ok {
		return false
	}
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); <-time.After(10 * time.Millisecond) {
		own := p.info(p.replica)
		has, err := strconv.Atoi(own["slave_repl_offset"])
		want, _ := strconv.Atoi(due)
		if err == nil && own["master_link_status"] == "up" && has >= want && own["aof_rewrite_in_progress"] == "0" && own["aof_rewrite_scheduled"] == "0" {
			return true
		}
	}
	return false
}

func (p *pair) info(s *redistest.Server) map[string]string {
	c := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true})
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	fields := map[string]string{}
	for line := range strings.Lines(c.Info(ctx, "replication", "persistence").Val()) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

// onRedis does what can be done to master and replica. A master is started, or replaced, only when the direct subscriber
// has noticed its death: until that is back, no other one connects.
func (r *rig) onRedis(a action) {
	p := r.pair
	switch a.what {
	case "kill":
		r.killMaster()
	case "start":
		r.crown(p.master, p.master.Start)
		p.runs = true
	case "freeze":
		p.master.Freeze()
	case "thaw":
		p.master.Thaw()
	case "kill replica":
		p.replica.Kill()
	case "start replica":
		p.replica.Start()
	case "fail over":
		r.failOver()
	case "rejoin":
		if !p.runs { // it was replaced
			p.replica.Start()
			p.follow(p.replica, p.master)
			p.runs = true
		}
	}
}

func (r *rig) killMaster() {
	r.pair.master.Kill()
	r.pair.deaths++
	r.pair.runs = false
	r.eventually("the direct subscriber notices that Redis is dead", func() string {
		if c, d := r.direct.Connections(), r.direct.Disconnections(); c != d {
			return fmt.Sprint(c, " connections, ", d, " of them broken")
		}
		return ""
	})
}

// failOver kills the master and promotes its replica, if that is in sync: what is over the retention period has been
// replicated then, for the clock jumps at no such moment.
func (r *rig) failOver() {
	p := r.pair
	r.pruning.RLock()
	if !p.inSync() {
		r.pruning.RUnlock()
		r.note("no failover: the replica is not in sync")
		return
	}
	r.killMaster()
	r.pruning.RUnlock()
	p.master, p.replica = p.replica, p.master
	r.crown(p.master, func() {
		p.follow(p.master, nil)
		r.network.Redirect(p.master.Addr())
		r.remote.Redirect(p.master.Addr())
	})
	p.promoted++
}
