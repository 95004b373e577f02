package relay

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	readBlock = time.Second // bounds a shutdown: go-redis does not notice a ctx that ends while it reads
	checkRate = 1 << 20     // bytes per second that an idle reader spends on looking whether its last entry still stands
)

// read returns what follows the last entry, none when there is nothing for a second. Only when that entry still stands
// after the read were these the next ones: if it does not, it was trimmed, or Redis has forgotten it, and what follows may
// have lower IDs. Then it reads from the start, and take passes over what was handled.
func (c *consumer) read(ctx context.Context) ([]redis.XMessage, error) {
	entries, err := c.next(ctx)
	if err != nil {
		return nil, err
	}
	stands := true
	if len(entries) > 0 || !time.Now().Before(c.idleLook) {
		if stands, err = c.stands(ctx); err != nil {
			return nil, err
		}
	}
	if c.fails > 0 {
		c.log.Info("reading the stream again")
		c.fails, c.class = 0, ""
		c.backoff.Reset()
	}
	if stands {
		return entries, nil
	}
	if !c.lost { // a reader that is slower than the trimming would say so at each read
		c.log.Warn("the stream does not hold the last entry that was read any more: it was trimmed, or Redis has forgotten it; reading from the start, without what was handled; events that left the stream unread are missing",
			"entry", c.at.EntryID, "origin", c.at.Origin, "sequence", c.at.Sequence)
	}
	c.lost, c.at = true, c.at.fromStart()
	return c.read(ctx)
}

// next reads the entries after the position.
func (c *consumer) next(ctx context.Context) ([]redis.XMessage, error) {
	args := redis.XReadArgs{Streams: []string{c.at.Stream, "0-0"}, Count: int64(c.pace.count), Block: readBlock}
	if c.at.EntryID != "" {
		args.Streams[1] = c.at.EntryID
	}
	if c.passOver {
		args.Block = -1 // what comes while it waits is new
	}
	streams, err := call(ctx, c, readBlock, func(ctx context.Context) ([]redis.XStream, error) {
		return c.client.XRead(ctx, &args).Result()
	})
	if errors.Is(err, redis.Nil) || err == nil && len(streams) == 0 {
		c.pace.see(nil)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(streams) != 1 || streams[0].Stream != c.at.Stream {
		return nil, strange("XREAD answered another stream than was asked for")
	}
	for _, m := range streams[0].Messages {
		if !entryIDForm.MatchString(m.ID) {
			return nil, strange("XREAD answered an entry ID that is none")
		}
	}
	c.pace.see(streams[0].Messages)
	return streams[0].Messages, nil
}

// stands looks whether the stream holds the last entry that was read.
func (c *consumer) stands(ctx context.Context) (bool, error) {
	if c.at.EntryID == "" {
		return true, nil
	}
	found, err := call(ctx, c, 0, func(ctx context.Context) ([]redis.XMessage, error) {
		return c.client.XRange(ctx, c.at.Stream, c.at.EntryID, c.at.EntryID).Result()
	})
	if err != nil || len(found) == 0 || !c.at.isAt(found[0]) {
		return false, err
	}
	data, _ := found[0].Values["data"].(string)
	c.lost, c.idleLook = false, time.Now().Add(time.Duration(len(data))*time.Second/checkRate)
	return true, nil
}

// call gives a call to Redis its time, and saves the position meanwhile once that is due: Redis may hang.
func call[T any](ctx context.Context, c *consumer, wait time.Duration, do func(context.Context) (T, error)) (value T, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait+longer(c.opts.Timeout, c.fails))
	defer cancel()
	if c.unsaved == 0 {
		return do(ctx)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		value, err = do(ctx)
	}()
	due := time.NewTimer(time.Until(c.since.Add(c.opts.SaveWithin)))
	defer due.Stop()
	select {
	case <-done:
	case <-due.C:
		if c.save(ctx) != nil {
			cancel()
		}
		<-done
	}
	return value, err
}

// retry says once for each outage that Redis cannot be read, and waits.
func (c *consumer) retry(ctx context.Context, err error) {
	if ctx.Err() != nil || c.flush(ctx) != nil {
		return
	}
	lookAgain(c.client)
	f := c.classify(err)
	delay := min(c.backoff.NextBackOff(), c.opts.RetryMaxDelay)
	switch {
	case f.class == Denied:
		delay = c.opts.RetryMaxDelay
	case c.fails == 0:
		delay = 0 // a stale connection: Redis itself may be well
	}
	c.fails, c.idleLook, c.pace.count = c.fails+1, time.Time{}, 1 // several large ones may have been too much for the time limit
	if c.class != f.class {
		c.class = f.class
		c.log.Warn("cannot read the stream; trying again", "error", f)
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// classify gives the mends of a reader where they differ from those of the relay.
func (c *consumer) classify(err error) failure {
	f := classify(err)
	if f.mend == mendTimeout {
		f.mend = "if this lasts, see whether Redis hangs; if it does not, raise ConsumeOptions.Timeout"
	}
	for text, mend := range map[string]string{
		"WRONGTYPE":       "the key of the stream is something else: rename or delete it in Redis",
		"NOPERM":          "give the Redis user these rights: ~" + c.at.Stream + " +hello +xread +xrange",
		"unknown command": "this Redis lacks or renames a command: a reader needs XREAD and XRANGE (Redis 5)",
	} {
		if f.class == Denied && strings.Contains(err.Error(), text) {
			f.mend = mend
		}
	}
	return f
}
