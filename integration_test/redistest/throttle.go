package redistest

import (
	"io"
	"time"
)

// throttledBuffer is what the kernel is asked to buffer for a throttled
// subscriber (it takes twice that, for its own bookkeeping).
const throttledBuffer = 64 << 10

// throttleStep is the time that one read is worth, and how much of a late
// wake-up the next reads may catch up with: after a pause of the sender there is
// no burst.
const throttleStep = 20 * time.Millisecond

// throttle reads a little at a time, and rests in between.
type throttle struct {
	in        io.Reader
	perSecond int
	done      <-chan struct{} // ends the rest

	free time.Time // when everything read so far has been paid for
}

func (t *throttle) Read(p []byte) (int, error) {
	atOnce := max(1, t.perSecond/int(time.Second/throttleStep))
	n, err := t.in.Read(p[:min(len(p), atOnce)])
	now := time.Now()
	if earliest := now.Add(-throttleStep); t.free.Before(earliest) {
		t.free = earliest
	}
	t.free = t.free.Add(time.Duration(n) * time.Second / time.Duration(t.perSecond))
	select {
	case <-t.done:
	case <-time.After(t.free.Sub(now)):
	}
	return n, err
}
