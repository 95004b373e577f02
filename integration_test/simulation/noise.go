package simulation

import (
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"
)

// noise draws how long things take. Each caller has a source of its own, so that what it gets depends on no other.
type noise struct {
	seed uint64

	mu      sync.Mutex
	sources map[string]*rand.Rand // guarded by mu
}

func newNoise(seed uint64) *noise { return &noise{seed: seed, sources: map[string]*rand.Rand{}} }

// of is the source of a caller.
func (n *noise) of(caller string) *rand.Rand {
	n.mu.Lock()
	defer n.mu.Unlock()
	source := n.sources[caller]
	if source == nil {
		h := fnv.New64a()
		_, _ = h.Write([]byte(caller))
		source = rand.New(rand.NewPCG(n.seed, h.Sum64()))
		n.sources[caller] = source
	}
	return source
}

// between draws a duration.
func (n *noise) between(caller string, least, most time.Duration) time.Duration {
	return least + time.Duration(n.of(caller).Int64N(int64(most-least)))
}
