package relay

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
)

// alertPause is how long a kind of alert is not repeated: every topic meets with the same fault of Redis.
const alertPause = time.Minute

// Alert is something that an operator must know.
type Alert struct {
	// Kind: "redis_full", "redis_refused", "redis_amnesia", "outbox_rolled_back", "outbox_contested", "outbox_damaged",
	// "event_parked", "event_blocked".
	Kind     string
	Critical bool   // else an error that heals, or was healed
	Message  string // what happened and what to do
	Topic    string
	Time     time.Time
}

type alerter struct {
	source Source
	build  func(Alert) (outbox.Event, error)
	log    *slog.Logger
	raised atomic.Bool // an alert was built since the last pass

	mu   sync.Mutex
	last map[string]time.Time // guarded by mu: when a kind was raised
}

// event logs the alert and builds its event; ok is false when there is none to append.
func (a *alerter) event(alert Alert) (e outbox.Event, ok bool) {
	a.log.Error(alert.Message, "alert", alert.Kind, "topic", alert.Topic)
	if a.build == nil {
		return e, false
	}
	e, err := a.build(alert)
	if err != nil {
		a.log.Error("cannot build the alert event", "alert", alert.Kind, "error", err)
		return e, false
	}
	a.raised.Store(true)
	return e, true
}

// raise appends an alert, unless one of its kind was raised within the last minute.
func (a *alerter) raise(ctx context.Context, alert Alert) {
	a.mu.Lock()
	recent := alert.Time.Sub(a.last[alert.Kind]) < alertPause
	if !recent {
		a.last[alert.Kind] = alert.Time
	}
	a.mu.Unlock()
	if recent {
		a.log.Warn(alert.Message, "alert", alert.Kind, "topic", alert.Topic)
		return
	}
	if e, ok := a.event(alert); ok {
		ctx, cancel := lasting(ctx)
		defer cancel()
		if _, err := a.source.Add(ctx, e); err != nil {
			a.log.Error("cannot append the alert event", "alert", alert.Kind, "error", err)
		}
	}
}

// damage raises an alert when an error of the source is of damaged pages, with what follows from that. topic is the one that they
// concern, "" for all.
func (a *alerter) damage(ctx context.Context, topic, what string, err error) {
	if partial(err) == Damaged {
		a.raise(ctx, Alert{Kind: "outbox_damaged", Critical: true, Topic: topic, Time: time.Now(), Message: fmt.Sprintf("%s: %v", what, err)})
	}
}
