package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/PitchConnect/matchrelay/relay"
)

// forbidden finds the command that Redis's answer is about.
var forbidden = regexp.MustCompile(`^NOPERM .*to run the '([a-z|]+)'`)

func checkConnection(p *patient, c *check) {
	if !p.cfg.Redis.Enabled {
		c.skip("REDIS_PUBSUB_ENABLED is false")
		return
	}
	addrs := strings.Join(p.cfg.Redis.Server.Addrs, ", ")
	p.checkSentinels(c)
	if p.down != nil {
		class, mend := relay.Explain(p.down)
		var reply redis.Error
		switch {
		case errors.Is(p.down, syscall.ECONNREFUSED):
			mend = "start Redis, or point REDIS_URL to it"
		case forbidden.MatchString(p.down.Error()):
			mend = aclLine(p.user(), "+"+forbidden.FindStringSubmatch(p.down.Error())[1])
		case strings.Contains(p.down.Error(), "cluster support disabled"):
			mend = "this Redis is no Cluster: give one address in REDIS_URL"
		case errors.As(p.down, &reply):
		case p.speaks == "plain":
			mend = "this port speaks plain Redis, without TLS: begin REDIS_URL with redis://, or give Redis's TLS port"
		case p.speaks == "tls":
			mend = "this port speaks TLS: begin REDIS_URL with rediss://, or give Redis's plain port"
		}
		if mend == "" {
			mend = "wait until Redis answers, or see its log"
		}
		c.fail(mend, "%s: %s: %v", addrs, class, p.down)
		return
	}
	for _, n := range p.nodes {
		if n.Err != nil {
			_, mend := relay.Explain(n.Err)
			c.warn(mend, "%s: %v", n.Addr, n.Err)
		}
	}
	c.ok("%s answers to the user %s", addrs, p.user())
}

func (p *patient) checkSentinels(c *check) {
	name, masters := p.cfg.Redis.Server.SentinelMaster, map[string]bool{}
	for _, s := range p.sentinels {
		switch {
		case s.Err != nil:
			_, mend := relay.Explain(s.Err)
			c.warn(mend, "Sentinel %s: %v", s.Addr, s.Err)
		case s.Master == "":
			c.warn("correct REDIS_SENTINEL_MASTER", "Sentinel %s knows no master named %s", s.Addr, name)
		default:
			masters[s.Master] = true
			c.ok("Sentinel %s: the master is %s", s.Addr, s.Master)
		}
	}
	if len(masters) > 1 {
		c.warn("wait for the failover to end", "the Sentinels do not agree")
	}
}

// user is the one that Redis knows.
func (p *patient) user() string {
	if name := p.cfg.Redis.Server.Username; name != "" {
		return name
	}
	return "default"
}

// speaks finds out whether a port talks the other way than REDIS_URL says: "tls" or "plain", else "". Nothing secret is sent.
func speaks(ctx context.Context, addr string, plain bool, timeout time.Duration) string {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return ""
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline) // fails only on a closed connection
	if plain {
		// No certificate is checked, for no more than the handshake is made.
		if tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx) == nil {
			return "tls"
		}
		return ""
	}
	first := make([]byte, 1)
	if _, err := io.WriteString(conn, "PING\r\n"); err == nil {
		if _, err := io.ReadFull(conn, first); err == nil && strings.ContainsAny(string(first), "+-") {
			return "plain"
		}
	}
	return ""
}

func checkVersion(p *patient, c *check) {
	for _, n := range p.nodes {
		major, minor := versionOf(n.Version)
		switch {
		case n.Err != nil:
		case n.Version == "":
			c.warn("", "cannot be seen without the right +hello or +info")
		case major < 5:
			c.fail("install Redis 7", "%s: before 5.0 scripts cannot write after INFO", n.Version)
		case major < 6 || major == 6 && minor < 2:
			c.warn("install Redis 7", "%s: before 6.2 users have no rights of channels", n.Version)
		case major == 7:
			c.ok("%s", n.Version)
		default:
			c.ok("%s (tested with 7)", n.Version)
		}
	}
}

func versionOf(text string) (major, minor int) {
	parts := strings.SplitN(text+"..", ".", 3)
	major, _ = strconv.Atoi(parts[0]) // 0 for what is no number
	minor, _ = strconv.Atoi(parts[1])
	return major, minor
}

func checkRole(p *patient, c *check) {
	wanted := p.cfg.Relay.WaitReplicas
	for _, n := range p.nodes {
		if n.Role == "replica" && len(p.nodes) == 1 {
			c.fail("point REDIS_URL to the master", "this Redis is a replica of %s", master(n))
		}
		if n.Mode == "cluster" && len(p.nodes) == 1 && !p.cfg.Redis.Server.Cluster() {
			c.fail("give several of its nodes in REDIS_URL, with commas", "this Redis is a node of a Cluster")
		}
	}
	p.masters(func(n relay.Node, who string) {
		if n.Role == "replica" {
			return
		}
		have, _ := strconv.Atoi(n.Info["connected_slaves"]) // 0 without INFO
		least, _ := strconv.Atoi(n.Settings["min-replicas-to-write"])
		good, known := n.Info["min_slaves_good_slaves"]
		enough, _ := strconv.Atoi(good)
		switch {
		case n.Role == "":
			c.warn("", "%scannot be seen without the right +hello or +info", who)
		case wanted > 0 && n.Info == nil:
			c.unseen(n, who, "+info")
		case wanted > have:
			c.fail("start more replicas, or lower RELAY_WAIT_REPLICAS", "%s%s connected, RELAY_WAIT_REPLICAS is %d", who, count(have, "replica"), wanted)
		case known && enough < max(least, 1):
			c.fail("start more replicas, or lower min-replicas-to-write", "%stakes no writes: %s in time, min-replicas-to-write is %d", who, count(enough, "replica"), max(least, 1))
		default:
			c.ok("%smaster, %s", who, count(have, "replica"))
		}
	})
	p.checkCluster(c)
	if c.Status == "" {
		c.skip("Redis cannot be asked")
	}
}

func master(n relay.Node) string {
	if host := n.Info["master_host"]; host != "" {
		return net.JoinHostPort(host, n.Info["master_port"])
	}
	return "another"
}

func (p *patient) checkCluster(c *check) {
	if !p.cfg.Redis.Server.Cluster() || p.down != nil {
		return
	}
	answer := 0
	for _, n := range p.nodes {
		if n.Err == nil {
			answer++
			c.unseen(n, "the Cluster's state ", "+cluster|info")
		}
	}
	if answer < len(p.nodes) {
		c.warn("start the others, or see their logs", "%d of %d nodes answer", answer, len(p.nodes))
	} else {
		c.ok("all %d nodes answer", answer)
	}
	for _, n := range p.nodes {
		switch state, slots := n.Cluster["cluster_state"], n.Cluster["cluster_slots_ok"]; {
		case state == "":
		case state != "ok":
			c.fail("see: redis-cli --cluster check "+n.Addr, "%s: the Cluster's state is %s", n.Addr, state)
		case slots != "16384":
			c.fail("see: redis-cli --cluster check "+n.Addr, "%s: %s of 16384 slots are served", n.Addr, slots)
		}
	}
}
