package relay

import "github.com/redis/go-redis/v9"

const (
	firstCount = 4       // entries of the first read: one may have 5 MB, or 24 at the very most
	mostCount  = 128     // entries of a read; Redis makes up the whole reply in its memory, whatever they have
	readBytes  = 8 << 20 // bytes of a read, as far as can be told before it
)

// pace is how many entries a read asks for: more while they are small and there are more, a single one after a failure.
type pace struct {
	count   int
	largest int  // bytes of the largest entry lately
	atEnd   bool // the latest read got all that there was
}

func newPace() pace { return pace{count: firstCount} }

// see takes note of what a read got.
func (p *pace) see(entries []redis.XMessage) {
	p.largest /= 2
	for _, m := range entries {
		size := 0
		for _, value := range m.Values {
			text, _ := value.(string)
			size += len(text)
		}
		p.largest = max(p.largest, size)
	}
	if p.atEnd = len(entries) < p.count; !p.atEnd {
		p.count *= 2
	}
	p.count = max(1, min(p.count, mostCount, readBytes/max(1, p.largest)))
}
