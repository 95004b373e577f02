package relay

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// A relay takes so many fresh origins within a time. An older copy of the file takes one; a mark that the file does not know, and
// that is there again each time, is no older copy.
const (
	freshOrigins    = 3
	freshOriginsFor = 10 * time.Minute
)

// contested is a class of its own for the status.
const contested Class = "contested"

// contest says whether the file has taken as many fresh origins as it may for now. The caller holds the renewal token.
func (r *Relay) contest(now time.Time) bool {
	r.renewed = slices.DeleteFunc(r.renewed, func(at time.Time) bool { return now.Sub(at) >= freshOriginsFor })
	return len(r.renewed) >= freshOrigins
}

// giveUp lets the topic wait until the mark is right, or another fresh origin may be taken. It says so once.
func (l *lane) giveUp(ctx context.Context) {
	text := fmt.Sprintf("Redis has events of %s again that this outbox file does not know, after %d fresh origins within %v: see whether a second relay runs on a copy of this file, or who else writes keys named matchrelay:*; events wait in the outbox, and go on when that is over, with another fresh origin at the earliest after %v",
		l.topic, freshOrigins, freshOriginsFor, freshOriginsFor)
	if l.status.set(Blocked, contested, text) {
		l.r.alerts.raise(ctx, Alert{Kind: "outbox_contested", Critical: true, Topic: l.topic, Time: time.Now(), Message: text})
	}
	l.pause(ctx, l.r.opts.RetryMaxDelay)
}
