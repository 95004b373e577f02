package powerloss

import "maps"

// Clone makes another disk that has taken the same calls.
func (d *Disk) Clone() *Disk {
	c := cloner{map[*node]*node{nil: nil}, map[*change]*change{}}
	to := *d
	to.folder = c.node(d.folder)
	to.pending = c.all(d.pending)
	to.syncing = maps.Clone(d.syncing)
	for id, covers := range to.syncing {
		to.syncing[id] = c.all(covers)
	}
	to.open = maps.Clone(d.open)
	for fd, f := range to.open {
		clone := *f
		clone.node = c.node(f.node)
		to.open[fd] = &clone
	}
	to.omitted = map[*change]bool{}
	return &to
}

type cloner struct {
	nodes   map[*node]*node
	changes map[*change]*change
}

func (c cloner) node(n *node) *node {
	if clone, ok := c.nodes[n]; ok {
		return clone
	}
	clone := *n
	c.nodes[n] = &clone
	clone.entries, clone.durable = c.entries(n.entries), c.entries(n.durable)
	return &clone
}

func (c cloner) entries(from map[string]*node) map[string]*node {
	to := maps.Clone(from)
	for name, n := range to {
		to[name] = c.node(n)
	}
	return to
}

func (c cloner) all(changes []*change) (to []*change) {
	for _, ch := range changes {
		if c.changes[ch] == nil {
			clone := *ch
			clone.node, clone.entry = c.node(ch.node), c.node(ch.entry)
			c.changes[ch] = &clone
		}
		to = append(to, c.changes[ch])
	}
	return to
}
