package redistest

import (
	"fmt"
	"time"
)

// Migration is a slot on its way from one master to another, done by hand as
// redis-cli does it. Until Finish, the old master answers ASK for keys that it
// does not have, and TRYAGAIN may come from either.
type Migration struct {
	c        *Cluster
	slot     int
	from, to *Server
}

// migrateWithin is how long the old master waits for the new one.
const migrateWithin = 30 * time.Second

// MigrateSlot moves a slot, with all that is in it, to another master.
func (c *Cluster) MigrateSlot(slot int, to *Server) {
	c.t.Helper()
	m := c.BeginMigration(slot, to)
	for m.MoveKeys(10) {
	}
	m.Finish()
}

// BeginMigration only opens the slot; MoveKeys and Finish do the rest.
func (c *Cluster) BeginMigration(slot int, to *Server) *Migration {
	c.t.Helper()
	from := owner(c.claims(), slot)
	if from == nil || from == to {
		c.t.Fatalf("slot %d cannot be migrated: it has no master, or is there already", slot)
	}
	m := &Migration{c: c, slot: slot, from: from, to: to}
	c.do(to, "CLUSTER", "SETSLOT", fmt.Sprint(slot), "IMPORTING", c.ids[from])
	c.do(from, "CLUSTER", "SETSLOT", fmt.Sprint(slot), "MIGRATING", c.ids[to])
	return m
}

// MoveKeys moves up to so many keys, and says whether there were any.
func (m *Migration) MoveKeys(atMost int) bool {
	m.c.t.Helper()
	reply := m.c.do(m.from, "CLUSTER", "GETKEYSINSLOT", fmt.Sprint(m.slot), fmt.Sprint(atMost))
	keys, ok := reply.([]any)
	if !ok || len(keys) == 0 {
		return false
	}
	move := []string{"MIGRATE", "127.0.0.1", fmt.Sprint(m.to.port), "", "0", fmt.Sprint(migrateWithin.Milliseconds()), "KEYS"}
	for _, key := range keys {
		move = append(move, fmt.Sprint(key))
	}
	m.c.do(m.from, move...)
	return true
}

// Finish gives the slot to the new master and returns when all living nodes
// know. The old one must have no more keys of it.
func (m *Migration) Finish() {
	m.c.t.Helper()
	// The new master comes first: if the old one did and died then, nobody would
	// have the slot.
	settled := []*Server{m.to, m.from}
	claims := m.c.claims()
	for _, s := range m.c.Servers {
		if n, ok := claims[s]; ok && n.is("master") && s != m.to && s != m.from {
			settled = append(settled, s)
		}
	}
	for _, s := range settled {
		m.c.do(s, "CLUSTER", "SETSLOT", fmt.Sprint(m.slot), "NODE", m.c.ids[m.to])
	}
	waitUntil(m.c.t, fmt.Sprintf("nodes that know where slot %d is", m.slot), func() string {
		for s := range m.c.claims() {
			nodes, err := s.nodes()
			if err != nil {
				return err.Error()
			}
			for _, n := range nodes {
				if n.has(m.slot) != (n.id == m.c.ids[m.to]) {
					return s.Addr() + " does not"
				}
			}
		}
		return ""
	})
}
