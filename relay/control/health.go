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
	// Relay is its state, "" for a process without one.
	Relay relay.State `json:"relay"`
}

// health judges by what the process knows: it reads nothing from the file and asks nobody.
func (s *server) health(w http.ResponseWriter, _ *http.Request) error {
	h := Health{Status: Healthy}
	if r := s.opts.Relay; r != nil {
		now := r.Health()
		h.Relay = now.State
		switch now.State {
		case relay.Delivering:
		case relay.NotRunning:
			h.Status, h.Reason = Unhealthy, "the relay does not run"
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
