package relay

import (
	"errors"
	"fmt"
)

// ErrGap is what the error of Consume wraps when events are missing in the stream; errors.As tells which, as a *Gap.
var ErrGap = errors.New("events have left the stream unread")

// Gap is a part of a topic's log that a reader did not get: the events of the topic between After and Before, both excluded.
type Gap struct {
	Topic  string
	Origin string
	// After is the last event of the origin that was handled. 0 means that none was: the reader meets the origin for the first
	// time, after its own place had left the stream, and there were events before.
	After uint64
	// Before is the next event of the origin that the stream has; Last is the one before it in the log, the last that is missing.
	Last, Before uint64
}

// Error says what is missing, and what to do about it.
func (g *Gap) Error() string {
	return fmt.Sprintf("%v: of %s, what follows #%d up to #%d of origin %s; read it elsewhere (see ConsumeOptions.OnGap) or leave it out by returning nil there; a larger RELAY_STREAM_MAXLEN, or ConsumeOptions.Name, keeps more for readers that are away",
		ErrGap, g.Topic, g.After, g.Last, g.Origin)
}

// Unwrap makes it an ErrGap.
func (g *Gap) Unwrap() error { return ErrGap }

// gap says whether events are missing before e, which was not handled yet. The entries behind a place that still stands are all
// there: an origin that is met among them for the first time has been silent since before the reader began.
func (p Position) gap(e StreamEvent) (g Gap, missing bool) {
	handled := p.handled(e.Origin)
	g = Gap{Topic: e.Topic, Origin: e.Origin, After: handled, Last: e.Predecessor, Before: e.Sequence}
	return g, e.Predecessor > handled && (handled > 0 || p.Overtaken)
}
