package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
)

// ConsumeOptions say what Consume reads, and who takes it. Channel, Store and Handle are needed.
type ConsumeOptions struct {
	// Channel is the Pub/Sub channel whose stream is read, StreamKey(Channel).
	Channel string
	// Store keeps the position over restarts.
	Store Store
	// Handle takes one event at a time, in the order of the stream. An error ends Consume before the position has moved, so
	// that the next Consume begins with this event.
	Handle func(ctx context.Context, e StreamEvent) error
	// OnGap is called where events are missing, before the next one is handed over: it may read them elsewhere, from the outbox
	// for example (control.Client has Missing for that), and returns nil to go on. The position moves over the gap with the event
	// behind it: when the process dies before that, OnGap is called again. nil ends Consume with ErrGap, as any error of OnGap does.
	OnGap func(ctx context.Context, g Gap) error
	// SaveEvery and SaveWithin say when the position is saved: after so many events, and at the latest so long after it came to
	// the first that is not saved yet, but never while Handle is at work; 0 or less means 256 and 100 ms. See Once.
	SaveEvery  int
	SaveWithin time.Duration
	// Name makes the reader known to the relay, which does not trim what it has still to read, up to Options.StreamMaxUnread. No
	// other reader, and no consumer group of workers, may have the name. It takes the rights +xgroup|create +xgroup|setid: a
	// consumer group of that name is moved on whenever the position is saved. Once the name is given up, remove the group, or it
	// keeps StreamMaxUnread entries for ever: XGROUP DESTROY {<channel>}:stream <name>. Without a name, a reader that is away for
	// longer than the stream keeps its events has a gap.
	Name string
	// OnlyNew begins with the events that are added from now on, when the store has no position yet; otherwise Consume begins
	// with the oldest that the stream holds.
	OnlyNew bool
	// Timeout bounds a call to Redis, beyond the second that a call may wait for events; 0 or less means 5 s. A call that
	// fails gets up to four times as long when it is tried again, for events that are large or connections that are slow.
	Timeout time.Duration
	// RetryDelay and RetryMaxDelay bound the exponential backoff; 0 or less means 1 s and 5 s.
	RetryDelay, RetryMaxDelay time.Duration
	// Logger takes what happens; nil discards it. Payloads and credentials are never logged.
	Logger *slog.Logger
}

// Defaults of ConsumeOptions.
const (
	DefaultSaveEvery  = 256
	DefaultSaveWithin = 100 * time.Millisecond
)

// Consume hands the events of a channel's stream to a handler, those that are there and then each as it is added, until
// ctx ends; then it returns nil: after the event at hand, within a second when Redis answers, and within a second and Timeout
// (four times that after failures) when Redis hangs. The stream is there when the relay runs with RELAY_STREAMS=on. client
// comes from NewClient; it stays the caller's to close.
//
// # Once
//
// Each event is handed over once by (origin, sequence), also over restarts of this process, and when Redis has forgotten
// entries and the relay adds them again. A replay by an operator is a new sequence, and arrives.
//
// The position is saved after SaveEvery events or SaveWithin, when the stream has no more just now, and when Consume ends. A
// process that dies gets what it handled since then again, with the same message IDs and sequences: at most SaveEvery events,
// one when that is 1. A handler that changes a database avoids that: it writes e.Position in the
// transaction of the change, and Store.Load reads it from there. Then each event takes effect exactly once:
//
//	Handle: func(ctx context.Context, e relay.StreamEvent) error {
//		return db.Update(func(tx *bbolt.Tx) error {
//			position, err := json.Marshal(e.Position)
//			if err != nil {
//				return err
//			}
//			return errors.Join(apply(tx, e.Payload), tx.Bucket(state).Put([]byte("position"), position))
//		})
//	}
//
// # Errors
//
// What Redis does is no error: it is retried for ever, and logged once for each outage. Consume ends with an error of the
// handler or of the store, wrapped, and when the stored position is of another stream. When ctx ends the handler may return
// its error: Consume returns nil then, and the position has not moved.
//
// # Gaps
//
// The stream is trimmed, and what leaves it before it was read is missing. That is noticed: each entry names its predecessor, and
// where that was not handled, Consume ends with ErrGap, a *Gap that says what is missing, or calls OnGap. The position stays
// before the gap, so that Consume ends with ErrGap again; to go on, call it with an OnGap that returns nil. What counts is the
// order of a topic's log under an origin. It is no gap what an operator discarded, what was parked, or what was there before a
// reader began; what was published while streams were off is one.
//
// An origin that a reader meets for the first time is a gap only when the entry at which it stood had left the stream, it has
// handled something before, and the first entry of the origin has a predecessor: it may have missed the beginning. It cannot know
// of an origin of which nothing is left in the stream. Entries that older versions added name no predecessor, and are not
// compared.
//
// # What is not promised
//
// An event of more than 64 MiB cannot be read. An entry that is no event
// of a relay (see ParseEntry) is logged and skipped. An origin that 256 others have followed is forgotten. Nobody else may
// use the same store at the same time; several workers share a stream as a consumer group, see the example. When Redis and the
// outbox are both put back to an older backup, they agree with each other, and events that get numbers anew are passed over
// by a reader that is further: put its position back as well.
//
// When Redis forgets events without breaking the connection (FLUSHALL), an idle reader notices after a second, and one more
// for each megabyte of the last event, or when the next event comes. It needs a user with the rights
// ~{<channel>}:stream +hello +xread +xrange, and holds up to 128 events or about
// 8 MiB at a time, four events at first.
func Consume(ctx context.Context, client redis.UniversalClient, opts ConsumeOptions) error {
	if opts.Channel == "" || opts.Store == nil || opts.Handle == nil {
		return errors.New("consume: ConsumeOptions need Channel, Store and Handle")
	}
	c := newConsumer(client, opts)
	err := c.load(ctx)
	if err == nil {
		err = c.run(ctx)
	}
	if err == nil || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return fmt.Errorf("consume %s: %w", c.at.Stream, err)
}
