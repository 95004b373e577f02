package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/PitchConnect/matchrelay/relay"
)

func checkEviction(p *patient, c *check) {
	p.masters(func(n relay.Node, who string) {
		if c.unseen(n, who, "+info") {
			return
		}
		most, _ := strconv.ParseInt(n.Info["maxmemory"], 10, 64)
		used, _ := strconv.ParseInt(n.Info["used_memory"], 10, 64)
		policy := n.Info["maxmemory_policy"]
		switch {
		case most == 0:
			c.ok("%sno maxmemory", who)
			return
		case policy != "noeviction":
			c.warn(configLine("maxmemory-policy noeviction"), "%smaxmemory-policy is %s: it may evict high-water marks", who, policy)
		default:
			c.ok("%snoeviction", who)
		}
		if float64(used) > mostFull*float64(most) {
			c.warn("raise maxmemory of Redis, or free memory", "%s%s of %s are used", who, byteText(used), byteText(most))
		}
	})
}

func checkPersistence(p *patient, c *check) {
	p.masters(func(n relay.Node, who string) {
		if c.unseen(n, who, "+info") {
			return
		}
		failed := false
		for _, last := range []struct{ field, what string }{
			{"rdb_last_bgsave_status", "the last snapshot failed"}, {"aof_last_write_status", "the last write to the AOF failed"},
		} {
			if n.Info[last.field] == "err" {
				failed = true
				c.fail("free disk space of Redis, see its log; then BGSAVE", "%s%s: Redis refuses writes (MISCONF)", who, last.what)
			}
		}
		save, seen := n.Settings["save"]
		switch {
		case failed:
		case n.Info["aof_enabled"] == "1" && n.Settings["appendfsync"] == "no":
			c.warn(configLine("appendfsync everysec"), "%sAOF, but appendfsync is no: a crash of its machine loses up to half a minute", who)
		case n.Info["aof_enabled"] == "1":
			c.ok("%s", strings.TrimSpace(who+"AOF "+n.Settings["appendfsync"]))
		case seen && save != "":
			c.ok("%ssnapshots (save %s)", who, save)
		case !seen:
			c.warn("", "%sno AOF; whether there are snapshots cannot be seen without the right +config|get", who)
		case p.cfg.Relay.Streams:
			c.warn(configLine("appendonly yes"), "%snone: when Redis dies it forgets its streams, whose newest entries the relay adds again, and the high-water marks, which it restores", who)
		default:
			c.warn(configLine("appendonly yes"), "%snone: when Redis dies it forgets the high-water marks, which the relay restores", who)
		}
	})
}

// configLine changes a setting of Redis.
func configLine(setting string, args ...any) string {
	return "CONFIG SET " + fmt.Sprintf(setting, args...) + " (and CONFIG REWRITE, to keep it)"
}

// checkLimits compares the largest event with what Redis takes and hands on.
func checkLimits(p *patient, c *check) {
	largest := int64(p.cfg.Outbox.MaxEventBytes)
	p.masters(func(n relay.Node, who string) {
		if c.unseen(n, who, "+config|get") {
			return
		}
		fits := true
		for _, limit := range []struct{ name, set, value, effect string }{
			{"client-output-buffer-limit pubsub", `client-output-buffer-limit "pubsub %d 8388608 60"`,
				hardLimit(n.Settings["client-output-buffer-limit"]), "a larger event disconnects its subscribers"},
			{"proto-max-bulk-len", "proto-max-bulk-len %d", n.Settings["proto-max-bulk-len"], "Redis hangs up on a larger event"},
			{"client-query-buffer-limit", "client-query-buffer-limit %d", n.Settings["client-query-buffer-limit"], "Redis hangs up on a larger event"},
		} {
			most, err := strconv.ParseInt(limit.value, 10, 64)
			if err != nil || most == 0 || largest+eventMargin <= most { // 0 is no limit
				continue
			}
			fits = false
			mend := configLine(limit.set, largest+8*eventMargin)
			if most > eventMargin {
				mend += fmt.Sprintf(", or OUTBOX_MAX_EVENT_BYTES=%d", most-eventMargin)
			}
			c.warn(mend, "%s%s is %s, OUTBOX_MAX_EVENT_BYTES %s: %s", who, limit.name, byteText(most), byteText(largest), limit.effect)
		}
		if fits {
			c.ok("%san event of %s fits", who, byteText(largest))
		}
	})
}

// checkKeepalive says for how long Redis counts a subscriber whose network has gone silent.
func checkKeepalive(p *patient, c *check) {
	const most = 300 // Redis's default
	p.masters(func(n relay.Node, who string) {
		if c.unseen(n, who, "+config|get") {
			return
		}
		seconds, err := strconv.Atoi(n.Settings["tcp-keepalive"])
		switch mend := configLine("tcp-keepalive %d", 60); {
		case err != nil:
			c.warn("", "%stcp-keepalive cannot be seen", who)
		case seconds == 0:
			c.warn(mend, "%stcp-keepalive is 0: Redis never drops a subscriber whose network has gone silent, and what it is sent is lost", who)
		case seconds > most:
			c.warn(mend, "%stcp-keepalive is %d s: for twice as long Redis counts a subscriber whose network has gone silent, and what it is sent is lost", who, seconds)
		default:
			c.ok("%sRedis drops a subscriber whose network has gone silent after about %d s", who, 2*seconds)
		}
	})
}

// hardLimit finds that of subscribers in "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60".
func hardLimit(value string) string {
	words := strings.Fields(value)
	if i := slices.Index(words, "pubsub"); i >= 0 && i+1 < len(words) {
		return words[i+1]
	}
	return ""
}

func (p *patient) checkSkew(c *check, n relay.Node) {
	if c.unseen(n, "Redis's time ", "+info") {
		return
	}
	usec, err := strconv.ParseInt(n.Info["server_time_usec"], 10, 64)
	if err != nil || n.Err != nil {
		return // too old to tell
	}
	skew := time.UnixMicro(usec).Sub(n.At)
	switch {
	case skew.Abs() < time.Millisecond:
		c.ok("Redis's agrees")
	case skew.Abs() <= mostSkew:
		c.ok("Redis's differs by %v", skew.Abs().Round(time.Millisecond))
	case skew > 0:
		c.warn("let both machines use NTP", "Redis's is %v ahead", skew.Round(time.Second))
	default:
		c.warn("let both machines use NTP", "Redis's is %v behind", -skew.Round(time.Second))
	}
}
