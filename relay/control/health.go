package control

import (
	"context"
	"fmt"
	"net/http"

	"github.com/PitchConnect/matchrelay/relay"
)

// HealthStatus says how the process that has the outbox open does.
type HealthStatus string

// The three answers of a health check. Only Unhealthy is mended by a restart.
const (
	Healthy   HealthStatus = "healthy"   // everything works
	Degraded  HealthStatus = "degraded"  // nothing is published at the moment (Redis, subscribers, a pause); events wait in the outbox
	Unhealthy HealthStatus = "unhealthy" // the outbox takes no more writes, or the relay has ended
)

// Health is the answer of /v1/health.
type Health struct {
	Status HealthStatus `json:"status"`
	// Reason is why it is not healthy, with what to do about it.
	Reason string `json:"reason"`
	// Relay is the state of the relay that drains the outbox, in this process or another one; "" when there is none.
	Relay relay.State `json:"relay"`
	File  File        `json:"file"`
}

// alive judges by what the process knows, and what the relay says that drains it: it reads nothing from the file. A relay in a
// process of its own that does not answer is no reason to restart this one.
func (s *server) alive(w http.ResponseWriter, r *http.Request) error {
	h := Health{Status: Healthy, File: newFile(s.opts.Outbox)}
	if now, elsewhere := s.health(r.Context()); now != nil {
		h.Relay = now.State
		switch {
		case now.State == relay.Delivering:
		case now.State == relay.NotRunning && elsewhere == "":
			h.Status, h.Reason = Unhealthy, "the relay does not run"
		case now.State == "": // it has just begun
			h.Status, h.Reason = Degraded, "the relay has not told yet how it does"
		default:
			h.Status, h.Reason = Degraded, fmt.Sprintf("the relay is %s: %s", now.State, now.LastError)
		}
	}
	if err := s.opts.Outbox.Err(); err != nil {
		h.Status, h.Reason = Unhealthy, err.Error()
	}
	respond(w, http.StatusOK, h)
	return nil
}

// Health asks how the process does.
func (c *Client) Health(ctx context.Context) (Health, error) {
	var h Health
	return h, c.call(ctx, http.MethodGet, "/v1/health", nil, &h)
}
