package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/redis/go-redis/v9"
)

// consumer reads one stream.
type consumer struct {
	client    redis.UniversalClient
	opts      ConsumeOptions
	log       *slog.Logger
	backoff   *backoff.ExponentialBackOff
	at        Position
	unsaved   int       // entries by which it has moved since it was saved
	since     time.Time // when it came to the first of them
	broken    error     // of the store
	announced string    // the entry at which the group of a named reader stands
	unknown   bool      // the relay cannot be told of it
	passOver  bool      // hand nothing over until the end of the stream is reached
	pace      pace
	lost      bool      // the last entry that was read was not found at the last look
	idleLook  time.Time // an idle reader does not look before, unless a call has failed
	fails     int       // calls that failed in a row
	class     Class     // of the outage that was logged last
}

func newConsumer(client redis.UniversalClient, opts ConsumeOptions) *consumer {
	defaults := Options{RetryDelay: opts.RetryDelay, RetryMaxDelay: opts.RetryMaxDelay, Logger: opts.Logger}.withDefaults()
	opts.RetryDelay, opts.RetryMaxDelay = defaults.RetryDelay, defaults.RetryMaxDelay
	if opts.Timeout <= 0 {
		opts.Timeout = defaultTimeout
	}
	if opts.SaveEvery <= 0 {
		opts.SaveEvery = DefaultSaveEvery
	}
	if opts.SaveWithin <= 0 {
		opts.SaveWithin = DefaultSaveWithin
	}
	stream := StreamKey(opts.Channel)
	return &consumer{
		client: client, opts: opts, log: defaults.Logger.With("stream", stream), at: Position{Stream: stream}, pace: newPace(),
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
		c.announce(ctx)
		return nil
	case c.opts.OnlyNew:
		c.passOver = true
		return nil
	}
	return c.save(ctx)
}

// save outlives ctx: what was handled is noted, or it would be handled again.
func (c *consumer) save(ctx context.Context) error {
	c.unsaved = 0
	if err := c.opts.Store.Save(context.WithoutCancel(ctx), c.at); err != nil {
		c.broken = fmt.Errorf("save the position: %w", err)
		return c.broken
	}
	c.announce(ctx)
	return nil
}

// flush saves what waits for it.
func (c *consumer) flush(ctx context.Context) error {
	if c.unsaved == 0 || c.broken != nil {
		return c.broken
	}
	return c.save(ctx)
}

// run ends with an error of the store, the handler or a gap only, and saves what was handled before.
func (c *consumer) run(ctx context.Context) error {
	var err error
	for err == nil && c.broken == nil && ctx.Err() == nil {
		entries, readErr := c.read(ctx)
		if readErr != nil {
			c.retry(ctx, readErr)
			continue
		}
		for i := 0; i < len(entries) && err == nil && ctx.Err() == nil; i++ {
			err = c.take(ctx, entries[i])
		}
		if err == nil && c.pace.atEnd && ctx.Err() == nil {
			err = c.rest(ctx)
		}
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) && c.broken == nil {
		err = nil
	}
	if failed := c.flush(ctx); failed != nil && !errors.Is(err, failed) {
		return errors.Join(err, failed)
	}
	return err
}

// rest notes that there is no more to read just now.
func (c *consumer) rest(ctx context.Context) error {
	if c.at.Overtaken {
		c.at.Overtaken = false
		c.unsaved++
	}
	if c.passOver {
		c.passOver = false
		return c.save(ctx)
	}
	return c.flush(ctx)
}

// take handles an entry, unless it was handled before, and moves the position.
func (c *consumer) take(ctx context.Context, m redis.XMessage) error {
	if c.unsaved == 0 {
		c.since = time.Now()
	}
	next := c.at.after(m)
	e, err := ParseEntry(m)
	switch {
	case err != nil:
		c.log.Warn("skipped what is in the stream but is no event", "entry", m.ID, "error", err)
	case c.passOver || e.Sequence <= c.at.handled(e.Origin):
	default:
		if gap, missing := c.at.gap(e); missing {
			if err := c.miss(ctx, gap); err != nil {
				return err
			}
		}
		e.Position = next
		if err := c.opts.Handle(ctx, e); err != nil {
			return fmt.Errorf("handle event %s, #%d of %s: %w", e.MessageID, e.Sequence, e.Origin, err)
		}
	}
	if c.at = next; c.passOver {
		return nil
	}
	c.unsaved++
	if c.unsaved >= c.opts.SaveEvery || time.Since(c.since) >= c.opts.SaveWithin {
		return c.save(ctx)
	}
	return nil
}

// miss has the caller say whether to go on behind a gap.
func (c *consumer) miss(ctx context.Context, gap Gap) error {
	if c.opts.OnGap == nil {
		return &gap
	}
	c.log.Warn("events have left the stream unread", "topic", gap.Topic, "origin", gap.Origin, "after", gap.After, "before", gap.Before)
	if err := c.opts.OnGap(ctx, gap); err != nil {
		return fmt.Errorf("%w: %w", &gap, err)
	}
	return nil
}
