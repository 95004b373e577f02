package simulation

import (
	"time"
)

// publication is one PUBLISH that Redis ran.
type publication struct {
	at       time.Time
	run      string
	relay    int // whose call it was
	key      markKey
	event    string // message ID
	sequence uint64
	size     int64
	again    bool  // by the script that publishes a tail again
	heard    []int // the subscribers that were there
}

// subscriber reads channels at a pace of its own. What is published to it waits in an output buffer of Redis until it is read.
type subscriber struct {
	name     string
	channels map[string]bool
	present  bool          // it wants to be subscribed
	back     time.Duration // how long after Redis it is back
	latency  time.Duration // from PUBLISH to the socket
	rate     int64         // bytes a second that it reads; 0 means that it reads nothing
	from     time.Time     // when it is connected; zero: not before Redis starts again

	buffer []buffered
	free   time.Time // when the latest message has left
	got    []int     // publications that have left Redis
	over   time.Time
	thrown []throw
	empty  time.Time     // when the buffer last was
	stood  bool          // it has read nothing for a while since then
	frozen time.Duration // how long Redis has written nothing while the buffer was over the soft limit
}

// throw is when Redis disconnected a subscriber for its buffer, and since when that was filling up.
type throw struct {
	at, filling time.Time
	stood       bool // it was not read at all for a while, or would not have been over the limit but for a frozen Redis
}

// buffered is a message in an output buffer.
type buffered struct {
	publication int
	bytes       int64
	leaves      time.Time
}

// Redis disconnects a Pub/Sub client whose buffer is over the hard limit, or over the soft one for a minute.
const (
	hardLimit    = 32 << 20
	softLimit    = 8 << 20
	softPatience = 60 * time.Second
)

func (c *subscriber) connected(now time.Time) bool {
	return c.present && !c.from.IsZero() && !now.Before(c.from)
}

// enqueue puts a publication into the buffer.
func (c *subscriber) enqueue(now time.Time, publication int, bytes int64) {
	if len(c.buffer) == 0 {
		c.empty, c.stood = now, c.rate == 0
	}
	c.buffer = append(c.buffer, buffered{publication: publication, bytes: bytes})
	c.schedule(now, len(c.buffer)-1)
	waiting := c.waiting(now)
	if waiting <= softLimit {
		c.over = time.Time{}
	} else if c.over.IsZero() {
		c.over, c.frozen = now, 0
	}
	if waiting > hardLimit || !c.over.IsZero() && now.Sub(c.over) > softPatience {
		frozen := waiting <= hardLimit && now.Sub(c.over)-c.frozen <= softPatience // Redis counts that time, too
		c.thrown = append(c.thrown, throw{now, c.empty, c.stood || frozen})
		c.disconnect(now)
		c.from = now.Add(c.back)
	}
}

// schedule works out when the messages from an index on leave.
func (c *subscriber) schedule(now time.Time, from int) {
	for i := from; i < len(c.buffer); i++ {
		m := &c.buffer[i]
		if m.leaves = farFuture; c.rate > 0 {
			begins := now.Add(c.latency)
			if c.free.After(begins) {
				begins = c.free
			}
			m.leaves = begins.Add(time.Duration(float64(m.bytes) / float64(c.rate) * float64(time.Second)))
			c.free = m.leaves
		}
	}
}

var farFuture = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// read changes the pace.
func (c *subscriber) read(now time.Time, rate int64) {
	c.drain(now)
	if gone := c.gone(now); gone > 0 {
		c.buffer[0].bytes -= gone
	}
	c.rate, c.free = rate, now
	c.stood = c.stood || rate == 0
	c.schedule(now, 0)
}

// drain takes note of what has left by now.
func (c *subscriber) drain(now time.Time) {
	for len(c.buffer) > 0 && !c.buffer[0].leaves.After(now) {
		c.got = append(c.got, c.buffer[0].publication)
		c.buffer = c.buffer[1:]
	}
}

// waiting is how many bytes are in the buffer: of the message that is leaving, those that have not left yet.
func (c *subscriber) waiting(now time.Time) (bytes int64) {
	for _, m := range c.buffer {
		bytes += m.bytes
	}
	return bytes - c.gone(now)
}

// gone is how many bytes of the message that is leaving have left.
func (c *subscriber) gone(now time.Time) int64 {
	if len(c.buffer) == 0 || c.rate == 0 {
		return 0
	}
	first := c.buffer[0]
	left := int64(first.leaves.Sub(now).Seconds() * float64(c.rate))
	return first.bytes - min(first.bytes, max(0, left))
}

// stall makes up for a time in which Redis was frozen.
func (c *subscriber) stall(d time.Duration) {
	c.frozen += d
	for i := range c.buffer {
		c.buffer[i].leaves = c.buffer[i].leaves.Add(d)
	}
	c.free = c.free.Add(d)
}

// disconnect ends the connection; what was still in the buffer is lost.
func (c *subscriber) disconnect(now time.Time) {
	c.drain(now)
	c.buffer, c.from, c.over, c.free = nil, time.Time{}, time.Time{}, time.Time{}
}
