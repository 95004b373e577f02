package relay

import (
	"cmp"
	"context"
	"strings"
	"time"
)

// nameWithin bounds the call that moves the group of a named reader: it only helps the relay.
const nameWithin = time.Second

// announce lets the relay know what a named reader has still to read: a consumer group of that name stands where the position
// does. Redis forgets the group together with the stream. One that cannot be moved now is moved with the next position. It is
// never made without the stream: the relay would take the empty one for its own, and not notice that Redis has forgotten it.
func (c *consumer) announce(ctx context.Context) {
	if c.opts.Name == "" || c.unknown || c.at.EntryID == c.announced && c.at.EntryID != "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), nameWithin)
	defer cancel()
	id := cmp.Or(c.at.EntryID, "0-0")
	err := c.client.XGroupSetID(ctx, c.at.Stream, c.opts.Name, id).Err()
	if err != nil && strings.HasPrefix(err.Error(), "NOGROUP") {
		err = c.client.XGroupCreate(ctx, c.at.Stream, c.opts.Name, id).Err()
	}
	if err == nil {
		c.announced = c.at.EntryID
		return
	}
	if f := classify(err); f.class == Denied {
		c.unknown = true
		f.mend = "give the Redis user the rights +xgroup|create +xgroup|setid, and start the reader again"
		c.log.Warn("the relay cannot be told what is still to be read: it trims the stream as if there were no reader", "name", c.opts.Name, "error", f)
	}
}
