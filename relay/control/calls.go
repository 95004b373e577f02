package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/PitchConnect/matchrelay/outbox"
)

// The arguments of the calls of a relay that have no type of their own; each call takes what it needs.
type arguments struct {
	Topic    string          `json:"topic,omitempty"`
	Sequence uint64          `json:"sequence,omitempty"`
	Count    int             `json:"count,omitempty"`
	Failure  *outbox.Failure `json:"failure,omitempty"`
	Events   []outbox.Event  `json:"events,omitempty"`
	Origin   string          `json:"origin,omitempty"`
}

// do is a call with arguments of type A: a method of relay.Source.
func do[A any](call func(ctx context.Context, a A) (any, error)) func(*server, http.ResponseWriter, *http.Request, uint64) error {
	return func(s *server, w http.ResponseWriter, r *http.Request, number uint64) error {
		var a A
		if err := decode(r.Body, &a); err != nil {
			return err
		}
		s.giveTime(w)
		var result any
		err := s.drains.during(number, func(*holder) (err error) {
			result, err = call(r.Context(), a)
			return err
		})
		cutShort(r, err)
		if err == nil {
			respond(w, http.StatusOK, result)
		}
		return err
	}
}

// cutShort breaks the connection when a call has failed because it was cut short, so that nobody takes that for an answer of
// the outbox.
func cutShort(r *http.Request, err error) {
	if err != nil && r.Context().Err() != nil {
		panic(http.ErrAbortHandler)
	}
}

// calls are what the holder of a lease may call, by name.
func (s *server) calls() map[string]func(*server, http.ResponseWriter, *http.Request, uint64) error {
	box := s.opts.Outbox
	type call = func(*server, http.ResponseWriter, *http.Request, uint64) error
	return map[string]call{
		"report": (*server).report,
		"read":   (*server).read,
		"position": do(func(ctx context.Context, a arguments) (any, error) {
			return box.Position(ctx, a.Topic)
		}),
		"back": do(func(ctx context.Context, a arguments) (any, error) {
			return box.Back(ctx, a.Topic, a.Sequence, a.Count)
		}),
		"message-id": do(func(ctx context.Context, a arguments) (any, error) {
			return box.MessageID(ctx, a.Topic, a.Sequence)
		}),
		"settle": do(func(ctx context.Context, r outbox.Receipt) (any, error) {
			return true, box.Settle(ctx, r)
		}),
		"flush": do(func(ctx context.Context, _ struct{}) (any, error) {
			return true, box.Flush(ctx)
		}),
		"park": do(func(ctx context.Context, a arguments) (any, error) {
			if a.Failure == nil {
				return nil, invalid("failure: expected why the event is parked")
			}
			return true, box.Park(ctx, a.Topic, a.Sequence, *a.Failure)
		}),
		"add": do(func(ctx context.Context, a arguments) (any, error) {
			return box.Add(ctx, a.Events...)
		}),
		"new-origin": do(func(ctx context.Context, a arguments) (any, error) {
			return box.NewOrigin(ctx, a.Origin, a.Events...)
		}),
		"prune": do(func(ctx context.Context, _ struct{}) (any, error) {
			return box.Prune(ctx)
		}),
	}
}

// relayCall answers a call of the holder of a lease.
func (s *server) relayCall(w http.ResponseWriter, r *http.Request) error {
	number, err := strconv.ParseUint(r.PathValue("lease"), 10, 64)
	if err != nil {
		return invalid("lease: expected a number")
	}
	call := s.calls()[r.PathValue("call")]
	if call == nil {
		return &Error{Code: "unknown_path", Message: fmt.Sprintf("this process does not know the call %.40q; use a relay of its version", r.PathValue("call"))}
	}
	return call(s, w, r, number)
}

// report takes note of how a relay does; that keeps its lease. What a newer relay tells beyond is passed over.
func (s *server) report(w http.ResponseWriter, r *http.Request, number uint64) error {
	var told report
	if err := json.NewDecoder(r.Body).Decode(&told); err != nil {
		return invalid("body: %v", err)
	}
	return s.drains.during(number, func(h *holder) error {
		h.reported(told)
		s.drains.paused.Store(told.Paused) // perhaps since before it had the lease
		respond(w, http.StatusOK, true)
		return nil
	})
}

// entry is an outbox.Entry without its topic and its payload.
type entry struct {
	Sequence    uint64 `json:"sequence"`
	MessageID   string `json:"message_id"`
	AppendedAt  int64  `json:"appended_at"` // nanoseconds since 1970
	ReplayOf    uint64 `json:"replay_of,omitempty"`
	Snapshot    bool   `json:"snapshot,omitempty"`
	TraceParent string `json:"trace_parent,omitempty"`
	Damaged     string `json:"damaged,omitempty"`
	Bytes       int    `json:"bytes"` // of the payload
}

// read answers with a line of JSON, a list of entries, and then their payloads, one behind the other.
func (s *server) read(w http.ResponseWriter, r *http.Request, number uint64) error {
	var asked outbox.Range
	if err := decode(r.Body, &asked); err != nil {
		return err
	}
	s.giveTime(w)
	var events []outbox.Entry
	err := s.drains.during(number, func(h *holder) (err error) {
		h.woken.Store(false) // what is appended from now on may be missed
		events, err = s.opts.Outbox.Read(r.Context(), asked)
		return err
	})
	cutShort(r, err)
	if err != nil {
		return err
	}
	heads := make([]entry, len(events))
	for i, e := range events {
		heads[i] = entry{Sequence: e.Sequence, MessageID: e.MessageID, AppendedAt: e.AppendedAt.UnixNano(), ReplayOf: e.ReplayOf,
			Snapshot: e.Snapshot, TraceParent: e.TraceParent, Bytes: len(e.Payload)}
		if e.Err != nil {
			heads[i].Damaged = e.Err.Error()
		}
	}
	s.giveTime(w)
	w.Header().Set("Content-Type", "application/octet-stream")
	if json.NewEncoder(w).Encode(heads) != nil {
		return nil // nobody is there to be told
	}
	for _, e := range events {
		if _, err := w.Write(e.Payload); err != nil {
			return nil
		}
	}
	return nil
}
