package main

import (
	"fmt"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// checks are made in this order. Those of Redis are skipped when it cannot be asked, those of the file's contents when it
// is not open.
var doctorChecks = []struct {
	name        string
	redis, file bool // what must have answered
	judge       func(p *patient, c *check)
}{
	{"settings", false, false, checkSettings},
	{"file", false, false, checkFile},
	{"previous list", false, false, checkPreviousList},
	{"disk", false, false, checkDisk},
	{"descriptors", false, false, checkDescriptors},
	{"pending", false, true, checkPending},
	{"clock", false, false, checkClock},
	{"connection", false, false, checkConnection},
	{"version", true, false, checkVersion},
	{"role", false, false, checkRole},
	{"rights", true, false, checkRights},
	{"eviction", true, false, checkEviction},
	{"persistence", true, false, checkPersistence},
	{"limits", true, false, checkLimits},
	{"keepalive", true, false, checkKeepalive},
	{"receivers", true, false, checkReceivers},
	{"marks", true, true, checkMarks},
}

func (p *patient) checks() (list []check) {
	for _, d := range doctorChecks {
		c := check{Name: d.name}
		switch {
		case d.redis && !p.cfg.Redis.Enabled:
			c.skip("REDIS_PUBSUB_ENABLED is false")
		case d.redis && p.down != nil:
			c.skip("Redis cannot be asked")
		case d.file && p.stats == nil:
			c.skip("%s", p.unopened)
		default:
			d.judge(p, &c)
		}
		list = append(list, c)
	}
	return list
}

func checkSettings(p *patient, c *check) {
	for _, note := range p.cfg.Notes() {
		c.warn("see: matchrelay config print", "%s", note)
	}
	if c.Status == "" {
		c.ok("the settings are right")
	}
}

// masters calls each for the nodes that the relay writes to. who is the node's address where there are several.
func (p *patient) masters(each func(n relay.Node, who string)) {
	for _, n := range p.nodes {
		who := ""
		if len(p.nodes) > 1 {
			who = n.Addr + ": "
		}
		if n.Err == nil && (n.Role != "replica" || len(p.nodes) == 1) {
			each(n, who)
		}
	}
}

// unseen warns about what a node did not tell, and says whether there is such a thing.
func (c *check) unseen(n relay.Node, who, right string) bool {
	err := n.Unseen[right]
	if err == nil {
		return false
	}
	if relay.Forbidden(err) {
		c.warn("", "%scannot be seen without the right %s", who, right)
	} else {
		c.warn("", "%scannot be seen: %v", who, err)
	}
	return true
}

// holder names the process that has the file.
func holder(e *outbox.LockedError) string {
	switch {
	case e.PID == 0:
		return "another process"
	case e.Command == "":
		return fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("process %d (%s)", e.PID, e.Command)
}
