package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/redis/go-redis/v9"
)

const (
	readCount = 4           // entries in one read: one may have 5 MB, or 24 at the very most
	readBlock = time.Second // bounds a shutdown: go-redis does not notice a ctx that ends while it reads
	checkRate = 1 << 20     // bytes per second that an idle reader spends on looking whether its last entry still stands
)

// consumer reads one stream.
type consumer struct {
	client   redis.UniversalClient
	opts     ConsumeOptions
	log      *slog.Logger
	backoff  *backoff.ExponentialBackOff
	at       Position
	passOver bool      // hand nothing over until the end of the stream is reached
	lost     bool      // the last entry that was read was not found at the last look
	idleLook time.Time // an idle reader does not look before, unless a call has failed
	fails    int       // calls that failed in a row
	class    Class     // of the outage that was logged last
}

func newConsumer(client redis.UniversalClient, opts ConsumeOptions) *consumer {
	defaults := Options{RetryDelay: opts.RetryDelay, RetryMaxDelay: opts.RetryMaxDelay, Logger: opts.Logger}.withDefaults()
	opts.RetryDelay, opts.RetryMaxDelay = defaults.RetryDelay, defaults.RetryMaxDelay
	if opts.Timeout <= 0 {
		opts.Timeout = defaultTimeout
	}
	stream := StreamKey(opts.Channel)
	return &consumer{
		client: client, opts: opts, log: defaults.Logger.With("stream", stream), at: Position{Stream: stream},
		backoff: backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(opts.RetryDelay), backoff.WithMaxInterval(opts.RetryMaxDelay),
			backoff.WithMaxElapsedTime(0), backoff.WithRandomizationFactor(0.3)),
	}
}

// load reads the position. The first one is saved at once, or at the end of the stream with OnlyNew: so a store that does
// not work shows before anything is handled.
func (c *consumer) load(ctx context.Context) error {
	p, err := c.opts.Store.Load(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("load the position: %w", err)
	case p.Stream != "":
		if err := p.check(c.at.Stream); err != nil {
			return err
		}
		c.at = p
		return nil
	case c.opts.OnlyNew:
		c.passOver = true
		return nil
	}
	return c.save(ctx, c.at)
}

// save outlives ctx: what was handled is noted, or it would be handled again.
func (c *consumer) save(ctx context.Context, p Position) error {
	if err := c.opts.Store.Save(context.WithoutCancel(ctx), p); err != nil {
		return fmt.Errorf("save the position: %w", err)
	}
	return nil
}

// run ends with an error of the store or the handler only.
func (c *consumer) run(ctx context.Context) error {
	for ctx.Err() == nil {
		entries, err := c.read(ctx)
		if err != nil {
			c.retry(ctx, err)
			continue
		}
		if len(entries) == 0 && c.passOver { // the end of the stream
			c.passOver = false
			err = c.save(ctx, c.at)
		}
		for i := 0; i < len(entries) && err == nil && ctx.Err() == nil; i++ {
			err = c.take(ctx, entries[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

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
	args := redis.XReadArgs{Streams: []string{c.at.Stream, "0-0"}, Count: readCount, Block: readBlock}
	if c.at.EntryID != "" {
		args.Streams[1] = c.at.EntryID
	}
	if c.passOver {
		args.Block = -1 // what comes while it waits is new
	}
	if c.fails > 0 {
		args.Count = 1 // four large ones may have been too much for the time limit
	}
	ctx, cancel := c.deadline(ctx, readBlock)
	defer cancel()
	streams, err := c.client.XRead(ctx, &args).Result()
	if errors.Is(err, redis.Nil) || err == nil && len(streams) == 0 {
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
	return streams[0].Messages, nil
}

// stands looks whether the stream holds the last entry that was read.
func (c *consumer) stands(ctx context.Context) (bool, error) {
	if c.at.EntryID == "" {
		return true, nil
	}
	ctx, cancel := c.deadline(ctx, 0)
	defer cancel()
	found, err := c.client.XRange(ctx, c.at.Stream, c.at.EntryID, c.at.EntryID).Result()
	if err != nil || len(found) == 0 || !c.at.isAt(found[0]) {
		return false, err
	}
	data, _ := found[0].Values["data"].(string)
	c.lost, c.idleLook = false, time.Now().Add(time.Duration(len(data))*time.Second/checkRate)
	return true, nil
}

func (c *consumer) deadline(ctx context.Context, wait time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, wait+longer(c.opts.Timeout, c.fails))
}

// take handles an entry, unless it was handled before, and moves the position.
func (c *consumer) take(ctx context.Context, m redis.XMessage) error {
	next := c.at.after(m)
	e, err := ParseEntry(m)
	switch {
	case err != nil:
		c.log.Warn("skipped what is in the stream but is no event", "entry", m.ID, "error", err)
	case c.passOver || e.Sequence <= c.at.handled(e.Origin):
	default:
		e.Position = next
		if err := c.opts.Handle(ctx, e); err != nil {
			return fmt.Errorf("handle event %s, #%d of %s: %w", e.MessageID, e.Sequence, e.Origin, err)
		}
		if err := c.save(ctx, next); err != nil {
			return err
		}
	}
	c.at = next
	return nil
}

// retry says once for each outage that Redis cannot be read, and waits.
func (c *consumer) retry(ctx context.Context, err error) {
	if ctx.Err() != nil {
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
	c.fails, c.idleLook = c.fails+1, time.Time{}
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
