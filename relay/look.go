package relay

import (
	"context"
	"errors"
)

// lastLook has the tail leave when a relay is told to end: otherwise what it sent in its last moments would come again, perhaps
// weeks later, if Redis dies before the next relay begins. It takes a third of a second, or two where Redis does not tell what is
// on its way to subscribers. A process that takes the outbox over goes on with the tail itself, and is not kept waiting.
func (l *lane) lastLook(ctx context.Context) {
	if !errors.Is(context.Cause(ctx), context.Canceled) || !l.ready {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLooks)
	defer cancel()
	for ctx.Err() == nil && !l.tail.lookedAt() {
		sleep(ctx, l.tail.safe())
		if _, err := l.call(ctx, l.batch()); err != nil {
			return
		}
	}
	if l.tail.from() != l.progress.TailFrom {
		_ = l.settle(ctx) // what is not stored stays in the tail
	}
}
