package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/schema"
)

// listPage is how many events are read at once: memory does not grow with the log.
const listPage = 1000

// choice is a selection that was checked: the outbox's filter, and what the outbox knows nothing of.
type choice struct {
	outbox.Filter
	match  string // only match updates that tell of this match; "" is all events
	single bool   // --seq names one event
}

// extent says how far a choice has come.
type extent struct {
	last    uint64 // sequence of the last event that was chosen
	more    bool   // the limit left some out
	unread  int    // match updates that could not be read, so that nobody knows whether they tell of the match
	example error  // why one of them could not
}

// missed notes an event whose payload cannot be read, and says whether err is that.
func (e *extent) missed(err error) bool {
	var unreadable *unreadableError
	if !errors.As(err, &unreadable) {
		return false
	}
	e.unread++
	e.example = err
	return true
}

// add counts what another choice could not read.
func (e *extent) add(other extent) {
	e.more = e.more || other.more
	e.unread += other.unread
	e.example = cmp.Or(e.example, other.example)
}

// each calls each for every chosen event, in order, page by page.
func (c choice) each(ctx context.Context, o store, each func(outbox.Info) error) (extent, error) {
	var reached extent
	keep, f, err := c.on(o)
	if err != nil {
		return reached, err
	}
	f.Limit = listPage
	if c.Limit > 0 && c.match == "" {
		f.Limit = min(f.Limit, c.Limit+1)
	}
	for left := c.Limit; ; {
		page, err := o.List(ctx, f)
		if err != nil {
			return reached, err
		}
		for _, info := range page {
			f.After = info.Sequence
			chosen, err := keep(ctx, &info)
			switch {
			case reached.missed(err):
				continue
			case err != nil:
				return reached, err
			case !chosen:
				continue
			case c.Limit > 0 && left == 0:
				reached.more = true
				return reached, nil
			}
			if err := each(info); err != nil {
				return reached, err
			}
			left--
			reached.last = info.Sequence
		}
		if len(page) < f.Limit || ctx.Err() != nil {
			return reached, ctx.Err()
		}
	}
}

// on returns what the outbox can filter of a choice, and what remains to be looked at event by event.
func (c choice) on(o store) (keep func(context.Context, *outbox.Info) (bool, error), f outbox.Filter, err error) {
	f = c.Filter
	var topics map[string]relay.TopicHealth
	if c.State == outbox.Held {
		f.State = outbox.Pending
		live, ok := o.(*liveStore)
		if !ok || live.status.Relay == nil {
			return nil, f, exit(exitUnreachable, errors.New("--state held: only a relay that runs knows which events wait for a subscriber; start one with: matchrelay relay"))
		}
		topics = live.status.Relay.Topics
	}
	return func(ctx context.Context, info *outbox.Info) (bool, error) {
		if c.State == outbox.Held {
			if topics[info.Topic].State != relay.Held {
				return false, nil
			}
			info.State = outbox.Held
		}
		if c.match == "" {
			return true, nil
		}
		return tellsOf(ctx, o, *info, c.match)
	}, f, nil
}

// unreadableError is why a match update cannot be read.
type unreadableError struct{ error }

func (e *unreadableError) Unwrap() error { return e.error }

// tellsOf says whether an event tells of changes of a match. One that retention has just removed does not.
func tellsOf(ctx context.Context, o store, info outbox.Info, match string) (bool, error) {
	if info.Topic != schema.TypeMatchUpdates {
		return false, nil
	}
	entry, _, err := withPayload(o)(ctx, info.Sequence)
	if errors.Is(err, outbox.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = entry.Err
	var m schema.Message
	var ids []string
	if err == nil {
		m, err = schema.Decode(entry.Payload)
	}
	if err == nil {
		ids, err = m.ChangedMatches()
	}
	if err != nil {
		return false, &unreadableError{fmt.Errorf("%s #%d: %w", info.Topic, info.Sequence, err)}
	}
	return slices.Contains(ids, match), nil
}

// withPayload is Get of a store, payload included.
func withPayload(o store) func(context.Context, uint64) (outbox.Entry, outbox.Info, error) {
	if live, ok := o.(*liveStore); ok {
		return live.Payload
	}
	return o.Get
}

// tell says on standard error what a choice has left out because of its limit, and makes an error of what it could not judge.
func (e extent) tell(a *app) error {
	if e.more {
		fmt.Fprintf(a.stderr, "there are more; go on with: --after %d\n", e.last)
	}
	if e.unread == 0 {
		return nil
	}
	return exit(exitPartly, fmt.Errorf("%s left out, which cannot be read: %w; look at the file with: matchrelay check",
		count(e.unread, "match update"), e.example))
}
