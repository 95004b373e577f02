package control

import (
	"context"
	"fmt"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// Missing calls each for every event of a gap, in order and with its payload, as far as Redis was given it: what a reader of the
// stream has missed. Its error ends that. It is for ConsumeOptions.OnGap. Errors: outbox.ErrNotFound when retention has removed
// events of the topic behind the start of the gap, outbox.ErrInvalid when the file has another origin, so that another process, or a
// file that an older copy has replaced, had the events; each is then called for none.
func (c *Client) Missing(ctx context.Context, g relay.Gap, each func(outbox.Entry) error) error {
	failed := func(err error) error {
		return fmt.Errorf("read what follows #%d of %s up to #%d: %w", g.After, g.Topic, g.Last, err)
	}
	var given []uint64
	err := c.Each(ctx, outbox.Filter{Topic: g.Topic, After: g.After, Through: g.Last}, func(info outbox.Info) error {
		switch info.State {
		case outbox.Parked, outbox.Discarded, outbox.Replayed: // which the stream never had
		default: // pending, too: who reads the stream may be ahead of what is settled
			given = append(given, info.Sequence)
		}
		return nil
	})
	if err != nil {
		return failed(err)
	}
	s, err := c.Status(ctx) // of a moment after the list
	if err != nil {
		return failed(err)
	}
	if s.Outbox.Origin != g.Origin {
		return failed(invalid("the outbox file is of origin %s, the gap of %s; ask the process that has that file, or fetch the current state", s.Outbox.Origin, g.Origin))
	}
	for _, t := range s.Outbox.Topics {
		if t.Topic == g.Topic && t.PrunedTo > g.After {
			return failed(fmt.Errorf("%w: retention has removed events of the topic up to #%d; fetch the current state instead, or raise OUTBOX_RETENTION", outbox.ErrNotFound, t.PrunedTo))
		}
	}
	for _, sequence := range given {
		entry, _, err := c.Payload(ctx, sequence)
		if err == nil {
			err = entry.Err
		}
		if err == nil {
			err = each(entry)
		}
		if err != nil {
			return failed(err)
		}
	}
	return nil
}
