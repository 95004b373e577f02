package control

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// Status is the answer of /v1/status.
type Status struct {
	Outbox outbox.Stats `json:"outbox"`
	File   File         `json:"file"`
	// Relay is nil when the outbox is not drained now.
	Relay *relay.Health `json:"relay"`
	// DrainedBy names the relay that drains the outbox over the socket; "" when the process does so itself, or nobody does.
	DrainedBy string `json:"drained_by"`
}

// Event is the answer of /v1/events/{sequence}.
type Event struct {
	outbox.Info
	Snapshot    bool   `json:"snapshot"`
	TraceParent string `json:"trace_parent"`
	Damaged     string `json:"damaged"`           // why the record cannot be published, or ""
	Payload     []byte `json:"payload,omitempty"` // only with ?payload=1
}

// MaxSequences is how many sequences one ReplayRequest or DiscardRequest may name.
const MaxSequences = 10_000

// ReplayRequest is the body of /v1/events/replay; see outbox.ReplayOptions. Who asks is told by the system.
type ReplayRequest struct {
	Sequences  []uint64 `json:"sequences"`
	AllowStale bool     `json:"allow_stale"`
	DryRun     bool     `json:"dry_run"`
	Filter     string   `json:"filter"`
	Reason     string   `json:"reason"`
}

// DiscardRequest is the body of /v1/events/discard; see outbox.DiscardOptions. Who asks is told by the system.
type DiscardRequest struct {
	Sequences []uint64 `json:"sequences"`
	DryRun    bool     `json:"dry_run"`
	Filter    string   `json:"filter"`
	Reason    string   `json:"reason"` // required
}

// answer is a failed request, or the last line of a list that could not be completed.
type answer struct {
	Error *Error `json:"error"`
	// Result is what was done before a replay or a discard failed.
	Result json.RawMessage `json:"result,omitempty"`
}

// line is a line of a list.
type line struct {
	outbox.Info
	Error *Error `json:"error"`
}

var states = []outbox.State{outbox.Pending, outbox.Delivered, outbox.Unheard, outbox.Parked, outbox.Discarded, outbox.Replayed}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{outbox.ErrInvalid}, args...)...)
}

// parseFilter reads the query of /v1/events.
func parseFilter(query url.Values) (f outbox.Filter, err error) {
	for name, values := range query {
		value := values[0]
		switch name {
		case "topic":
			f.Topic = value
		case "state":
			if f.State = outbox.State(value); !slices.Contains(states, f.State) {
				err = invalid("state: expected one of %v", states)
			}
		case "error":
			f.Error = value
		case "after":
			f.After, err = parseNumber(name, value)
		case "through":
			f.Through, err = parseNumber(name, value)
		case "limit":
			var n uint64
			n, err = parseNumber(name, value)
			f.Limit = int(min(n, 1<<31-1))
		case "since":
			f.Since, err = parseTime(name, value)
		case "until":
			f.Until, err = parseTime(name, value)
		default:
			err = &Error{Code: "unknown_parameter", Message: fmt.Sprintf("%.40q is not a parameter of this request; use a client of the version of this process", name)}
		}
		if err == nil && len(values) > 1 {
			err = invalid("%s is given more than once", name)
		}
		if err != nil {
			return f, err
		}
	}
	return f, nil
}

func parseNumber(name, value string) (uint64, error) {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return 0, invalid("%s: expected a number from 0 on", name)
	}
	return n, nil
}

func parseTime(name, value string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, value)
	if err != nil {
		return t, invalid("%s: expected a time such as 2025-09-21T10:30:00Z", name)
	}
	return t, nil
}

// query writes a filter as parseFilter reads it.
func query(f outbox.Filter) url.Values {
	q := url.Values{}
	set := func(name, value string, given bool) {
		if given {
			q.Set(name, value)
		}
	}
	set("topic", f.Topic, f.Topic != "")
	set("state", string(f.State), f.State != "")
	set("error", f.Error, f.Error != "")
	set("after", strconv.FormatUint(f.After, 10), f.After != 0)
	set("through", strconv.FormatUint(f.Through, 10), f.Through != 0)
	set("limit", strconv.Itoa(f.Limit), f.Limit != 0)
	set("since", f.Since.Format(time.RFC3339Nano), !f.Since.IsZero())
	set("until", f.Until.Format(time.RFC3339Nano), !f.Until.IsZero())
	return q
}
