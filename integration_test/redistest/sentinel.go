package redistest

import (
	"fmt"
	"strconv"
	"testing"
)

// MasterName is what the sentinels call the master.
const MasterName = "mymaster"

// Sentinels watch a master and its replicas, and promote a replica when most of
// them find the master dead: after 3 seconds, so that it is not one that a busy
// machine only keeps waiting, and what the vote takes.
type Sentinels struct {
	t       testing.TB
	Servers []*Server // the sentinels themselves, which may be killed and frozen, too
}

// StartSentinels starts n sentinels and returns when they know each other and
// all replicas that the master has by then: start those first.
func StartSentinels(t testing.TB, master *Server, n int) *Sentinels {
	t.Helper()
	replicas := 0
	if own, err := master.replication(); err == nil {
		replicas = offset(own["connected_slaves"])
	}
	s := &Sentinels{t: t}
	for range n {
		server := newServer(t, freePort(t), []string{
			fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d %d", MasterName, master.port, n/2+1),
			"sentinel down-after-milliseconds " + MasterName + " 3000",
			"sentinel failover-timeout " + MasterName + " 2000",
		}, "--sentinel")
		server.Start()
		s.Servers = append(s.Servers, server)
	}
	waitUntil(t, "sentinels that know each other", func() string {
		for _, server := range s.Servers {
			view := server.view()
			if others, known := offset(view["num-other-sentinels"]), offset(view["num-slaves"]); others != n-1 || known != replicas {
				return fmt.Sprintf("one knows %d sentinels of %d and %d replicas of %d", others+1, n, known, replicas)
			}
		}
		return ""
	})
	return s
}

// view is what one sentinel knows of the master.
func (s *Server) view() map[string]string {
	reply, err := command(s.Addr(), answerWithin, "SENTINEL", "MASTER", MasterName)
	m := map[string]string{}
	if list, ok := reply.([]any); err == nil && ok {
		for i := 0; i+1 < len(list); i += 2 {
			m[fmt.Sprint(list[i])] = fmt.Sprint(list[i+1])
		}
	}
	return m
}

// Addrs are those of the sentinels.
func (s *Sentinels) Addrs() []string { return addrs(s.Servers) }

func addrs(servers []*Server) []string {
	var list []string
	for _, server := range servers {
		list = append(list, server.Addr())
	}
	return list
}

// Master is the address of the master as most of the sentinels say, or "" when
// they do not agree. It may be called from any goroutine, so it can be the
// Resolve of a subscriber.
func (s *Sentinels) Master() string {
	votes := map[string]int{}
	for _, server := range s.Servers {
		if !server.up.Load() {
			continue
		}
		reply, err := command(server.Addr(), answerWithin, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MasterName)
		list, _ := reply.([]any)
		if err != nil || len(list) != 2 {
			continue
		}
		addr := fmt.Sprintf("%v:%v", list[0], list[1])
		if votes[addr]++; votes[addr] > len(s.Servers)/2 {
			return addr
		}
	}
	return ""
}

// WaitFailover returns the address of the master when most of the sentinels say
// that it is another than before, and it is a master indeed.
func (s *Sentinels) WaitFailover(before string) string {
	s.t.Helper()
	now := ""
	waitUntil(s.t, "another master than "+before, func() string {
		if now = s.Master(); now == "" || now == before {
			return "it is " + strconv.Quote(now)
		}
		reply, err := command(now, answerWithin, "INFO", "replication")
		if err != nil {
			return err.Error()
		}
		if role := sections(reply)["role"]; role != "master" {
			return now + " is still " + role
		}
		return ""
	})
	return now
}
