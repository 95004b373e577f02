package powerloss

import (
	"maps"
	"path/filepath"
	"slices"
)

// takeSync makes durable, at the end of a sync, what had been done when it began.
func (d *Disk) takeSync(c *Call) (Step, error) {
	f := d.open[c.FD]
	if !c.End {
		if f == nil || f.node == nil {
			return Step{}, nil
		}
		covers := []*change{}
		for _, p := range d.pending {
			if p.node == f.node && p.begun < 0 {
				covers = append(covers, p)
			}
		}
		d.syncing[c.ID] = covers
		return Step{}, nil
	}
	covers, ok := d.syncing[c.ID]
	if !ok {
		return Step{}, nil
	}
	delete(d.syncing, c.ID)
	path, _ := filepath.Rel(d.root, f.path)
	step := Step{Changed: true, Sync: &Sync{Call: c.Name, Path: path, Folder: f.node.folder}}
	if d.Omit {
		for _, p := range covers {
			d.omitted[p] = true
		}
		return step, nil
	}
	done := map[*change]bool{}
	for _, p := range covers {
		if !slices.Contains(d.pending, p) {
			continue // another sync was faster
		}
		done[p] = true
		if p.node.folder {
			p.node.durable = maps.Clone(p.node.durable)
			p.enter(p.node.durable)
		} else {
			p.node.synced = p.apply(p.node.synced, whole)
		}
	}
	d.pending = slices.DeleteFunc(slices.Clone(d.pending), func(p *change) bool { return done[p] })
	return step, nil
}
