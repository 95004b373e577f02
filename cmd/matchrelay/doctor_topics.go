package main

import (
	"slices"
	"strings"

	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/relay"
)

// aclLine gives a user rights beyond those that it has.
func aclLine(user string, rights ...string) string {
	return "ACL SETUSER " + user + " " + strings.Join(rights, " ") + " (and ACL SAVE or CONFIG REWRITE, to keep it)"
}

func checkRights(p *patient, c *check) {
	p.masters(func(n relay.Node, who string) {
		for _, right := range []string{"+script|load", "+evalsha"} {
			if err := n.Unseen[right]; err != nil {
				c.fail(aclLine(p.user(), p.leastRights(n)...), "%s%v", who, err)
				return
			}
		}
		if n.Rights == nil {
			c.skip("%sRedis tells rights from 7.0 on; SCRIPT LOAD and EVALSHA are permitted", who)
			return
		}
		fine := 0
		told := map[string]bool{}
		for _, r := range n.Rights {
			command := strings.ToUpper(strings.ReplaceAll(r.Right[1:], "|", " "))
			report := c.fail
			if r.Optional {
				report = c.warn
			}
			switch {
			case r.Permitted:
				fine++
			case told[r.Right]:
			case r.Unknown:
				report("do not rename "+command+" in Redis", "%sRedis has no %s, needed %s", who, command, r.For)
			default:
				report(aclLine(p.user(), missingRights(n.Rights)...), "%sno right of %s%s, needed %s", who, command, deniedOn(n.Rights, r.Right), r.For)
			}
			told[r.Right] = told[r.Right] || !r.Permitted
		}
		if fine == len(n.Rights) {
			c.ok("%sall %d are there", who, fine)
		}
	})
}

// deniedOn lists what a right is missing for.
func deniedOn(rights []relay.Right, right string) string {
	var names []string
	for _, r := range rights {
		if r.Right == right && !r.Permitted && r.On != "" && !slices.Contains(names, r.On[1:]) {
			names = append(names, r.On[1:])
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " on " + strings.Join(names, ", ")
}

// missingRights are those to be given, patterns first.
func missingRights(rights []relay.Right) (list []string) {
	var patterns []string
	for _, r := range rights {
		if r.Permitted || r.Unknown {
			continue
		}
		if r.On != "" && !slices.Contains(patterns, r.On) {
			patterns = append(patterns, r.On)
		}
		if !slices.Contains(list, r.Right) {
			list = append(list, r.Right)
		}
	}
	return append(patterns, list...)
}

// leastRights are all that the relay needs of a node.
func (p *patient) leastRights(n relay.Node) []string {
	var rights []relay.Right
	for _, need := range p.question(n.Mode == "cluster").Needs() {
		if !need.Optional {
			rights = append(rights, relay.Right{Need: need})
		}
	}
	return missingRights(rights)
}

// checkReceivers counts the subscribers of all nodes, for Redis counts those of one.
func checkReceivers(p *patient, c *check) {
	counts, seen := map[string]int64{}, false
	for _, n := range p.nodes {
		if n.Err == nil && !c.unseen(n, "", "+pubsub|numsub") {
			seen = true
			for channel, n := range n.Receivers {
				counts[channel] += n
			}
		}
	}
	for _, topic := range config.Topics {
		channel := p.cfg.Redis.Channels()[topic]
		got, least := int(counts[channel]), p.cfg.Relay.MinReceivers[topic]
		switch {
		case !seen:
		case got < least:
			c.warn("start a subscriber of "+channel+", or lower RELAY_MIN_RECEIVERS",
				"%s has %s and waits for %d: its events are held", topic, count(got, "subscriber"), least)
		default:
			c.ok("%s %d", topic, got)
		}
	}
	for _, s := range p.streams {
		key := relay.StreamKey(p.cfg.Redis.Channels()[s.topic])
		switch {
		case s.err != nil && relay.Forbidden(s.err):
			c.warn("", "the type of %s cannot be seen without the right +type", key)
		case s.err != nil:
			c.warn("", "the type of %s cannot be seen: %v", key, s.err)
		case s.kind != "stream" && s.kind != "none":
			c.warn("rename or delete "+key+" in Redis", "%s is a %s and no stream", key, s.kind)
		}
	}
}

// checkMarks judges as the relay will when it starts.
func checkMarks(p *patient, c *check) {
	for _, m := range p.marks {
		accepted, found, added := m.accepted.Sequence, m.found.Sequence, m.added.Sequence
		if m.stream.Slowest != "" && m.stream.Entries >= p.cfg.Relay.StreamMaxUnread {
			c.warn("start its readers, or remove it with XGROUP DESTROY "+relay.StreamKey(p.cfg.Redis.Channels()[m.topic])+" NAME",
				"%s: its stream has %d entries, for the consumer group or reader %s has still to read them; RELAY_STREAM_MAX_UNREAD allows no more, and what it does not read now is lost to it",
				m.topic, m.stream.Entries, harmless(m.stream.Slowest))
		}
		agree := m.found == m.accepted || m.known && found > accepted // otherwise the stream is dealt with as well
		switch {
		case agree && m.err == nil && m.gone:
			c.warn("none is needed; find out who deletes the stream, and check Redis's eviction",
				"%s: its stream is gone, the relay adds again what the outbox retains", m.topic)
		case agree && m.err == nil && 0 < added && added < found:
			c.warn("keep RELAY_STREAMS on; let readers of the stream get what they missed elsewhere",
				"%s: its stream has #%d and nothing since, to #%d: that was published with RELAY_STREAMS off, and is not added later", m.topic, added, found)
		}
		switch {
		case m.err != nil:
			_, mend := relay.Explain(m.err)
			c.warn(mend, "%v", m.err)
		case m.found == m.accepted && found == 0:
			c.ok("%s: none yet", m.topic)
		case m.found == m.accepted:
			c.ok("%s #%d", m.topic, found)
		case m.known && found > accepted:
			c.ok("%s: Redis has #%d, the file #%d: an answer was lost, the relay catches up", m.topic, found, accepted)
		case m.of != "" && m.of != m.topic:
			c.warn("none is needed when the channels of topics were exchanged",
				"%s: Redis has #%d, an event of %s, whose channel that was: the relay will set its own mark", m.topic, found, m.of)
		case found < accepted && (found == 0 || m.known || m.pruned):
			c.warn("none is needed; check Redis's persistence and eviction, and that REDIS_URL and the channel are the right ones",
				"%s: Redis has #%d, the file #%d: Redis has forgotten, the relay will restore it", m.topic, found, accepted)
		default:
			c.warn("find out who put the older file there, and put the newest one back if there is one",
				"%s: Redis has #%d, which the file does not know: the file is an older copy, the relay will take a fresh origin", m.topic, found)
		}
	}
}
