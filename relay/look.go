package relay

import (
	"context"
	"time"
)

// lookWhenDue looks when the tail wants to know.
func (l *lane) lookWhenDue(ctx context.Context) error {
	if !l.tail.due(time.Now()) {
		return nil
	}
	return l.look(ctx)
}

// look finds out how far behind the slowest subscriber is, and who is there, when that is in doubt.
func (l *lane) look(ctx context.Context) error {
	now := time.Now()
	v, err := l.r.flow.view(ctx, l.progress.Receivers)
	if err != nil {
		return classify(err)
	}
	l.tail.see(now, v.behind, v.all, time.Since(now))
	l.silence.see(now, v.clients, l.sent)
	if l.tail.doubtful = l.silence.doubting(); l.silence.due {
		l.ready = false
	}
	return nil
}

// lastLook has the tail leave when a relay is told to end: otherwise what it sent in its last moments would come again, perhaps
// weeks later, if Redis dies before the next relay begins. It takes a third of a second, or two where Redis does not tell what is
// on its way to subscribers. Whoever takes the outbox over goes on with the tail itself, and is not kept waiting.
func (l *lane) lastLook(ctx context.Context) {
	if context.Cause(ctx) != context.Canceled || !l.ready || l.tail.doubtful {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLooks)
	defer cancel()
	for !l.tail.lookedAt() {
		time.Sleep(l.tail.safe())
		if _, err := l.call(ctx, l.batch()); err != nil {
			return
		}
	}
	if l.tail.from() != l.progress.TailFrom {
		_ = l.settle(ctx) // what is not stored stays in the tail
	}
}
