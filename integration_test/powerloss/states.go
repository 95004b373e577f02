package powerloss

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
)

// Effort says how many states of one point States looks at.
type Effort struct {
	Exhaustive int // up to so many pending changes, every subset of them
	Random     int // so many times, each sector of each pending change by chance
}

// A State is one that a power cut could leave.
type State struct {
	What  string // what is there of the changes that were not synced
	Image Image
}

// part is how much of a change is on the disk.
type part struct {
	grown  bool // of a write: the size, with zeros where sectors are missing
	sector func(sector int64) bool
}

var (
	whole   = &part{true, func(int64) bool { return true }}
	nothing = (*part)(nil)
)

// apply makes a change of a file, in part.
func (ch *change) apply(c *content, p *part) *content {
	switch {
	case p == nothing:
		return c
	case ch.resize:
		return c.resize(ch.size)
	}
	end := ch.offset + int64(len(ch.data))
	if p.grown && end > c.size {
		c = c.resize(end)
	}
	return c.write(ch.offset, ch.data, p.sector)
}

// Now is what processes see.
func (d *Disk) Now() Image { return d.image(slices.Repeat([]*part{whole}, len(d.pending))) }

// States yields states that a power cut could leave now: nothing of what is pending, all of it, each change
// alone, each missing, each that came last missing, all with it; every subset when there are few; and parts of
// them by chance. What they have in common with the states of the call before, with which one change fewer was
// pending, is left out unless settled is set: it is to be when a sync begins or a promise is given.
func (d *Disk) States(effort Effort, settled bool, random *rand.Rand) iter.Seq[State] {
	return func(yield func(State) bool) {
		n := len(d.pending)
		try := func(what string, parts []*part) bool { return yield(State{what, d.image(parts)}) }
		subset := func(what string, has func(i int) bool) bool {
			parts := make([]*part, n)
			for i := range parts {
				if has(i) {
					parts[i] = whole
				}
			}
			return try(what, parts)
		}
		if !subset("nothing", func(int) bool { return false }) || n == 0 {
			return
		}
		if !subset(fmt.Sprintf("all %d changes", n), func(int) bool { return true }) ||
			!subset("only the last", func(i int) bool { return d.leadsTo(i, n-1) }) {
			return
		}
		if settled {
			for k := range n {
				if !subset(fmt.Sprintf("the first %d of %d", k, n), func(i int) bool { return i < k }) ||
					!subset(fmt.Sprintf("only number %d of %d", k+1, n), func(i int) bool { return d.leadsTo(i, k) }) ||
					!subset(fmt.Sprintf("all but number %d of %d", k+1, n), func(i int) bool { return !d.leadsTo(k, i) }) {
					return
				}
			}
			if n <= effort.Exhaustive {
				for set := range uint64(1) << n {
					if !subset(fmt.Sprintf("subset %b of %d", set, n), func(i int) bool { return set>>i&1 == 1 }) {
						return
					}
				}
			}
		}
		for k := range effort.Random {
			if !try(fmt.Sprintf("sample %d of %d changes", k+1, n), chance(n, random)) {
				return
			}
		}
	}
}

// leadsTo says whether change i is there when j is: j itself, and what came before it in the same folder.
func (d *Disk) leadsTo(i, j int) bool {
	return i == j || i < j && d.pending[i].node.folder && d.pending[i].node == d.pending[j].node
}

// chance chooses sectors, sometimes few and sometimes most.
func chance(n int, random *rand.Rand) []*part {
	parts := make([]*part, n)
	most := random.Float64()
	for i := range parts {
		switch random.IntN(4) {
		case 0:
		case 1:
			parts[i] = whole
		default:
			start := random.Uint64()
			parts[i] = &part{random.IntN(2) == 0, func(sector int64) bool {
				// Asked again, it says the same.
				return rand.New(rand.NewPCG(start, uint64(sector))).Float64() < most
			}}
		}
	}
	return parts
}
