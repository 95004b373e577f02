package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
)

// routes are the endpoints of every control socket.
func (s *server) routes() []Route {
	return []Route{
		{Method: "GET", Path: "/v1/status", Handle: s.status},
		{Method: "GET", Path: "/v1/health", Handle: s.alive},
		{Method: "POST", Path: "/v1/retry-now", Handle: s.steer(askRetry)},
		{Method: "POST", Path: "/v1/pause", Handle: s.steer(askPause)},
		{Method: "POST", Path: "/v1/resume", Handle: s.steer(askResume)},
		{Method: "POST", Path: "/v1/relay", Handle: s.lease},
		{Method: "POST", Path: "/v1/relay/{lease}/{call}", Handle: s.relayCall},
		{Method: "POST", Path: "/v1/handover", Handle: s.handover},
		{Method: "GET", Path: "/v1/events", Handle: s.events},
		{Method: "GET", Path: "/v1/events/{sequence}", Handle: s.event},
		{Method: "GET", Path: "/v1/tail", Handle: s.tail},
		{Method: "POST", Path: "/v1/events/replay", Handle: s.replay},
		{Method: "POST", Path: "/v1/events/discard", Handle: s.discard},
		{Method: "GET", Path: "/v1/audit", Handle: s.audit},
		{Method: "GET", Path: "/v1/backup", Handle: s.backup},
	}
}

// handler routes requests. Whatever the paths, a request outside them is answered with an Error as well.
func (s *server) handler(routes []Route) http.Handler {
	paths := map[string]map[string]Route{} // by path and method
	for _, route := range routes {
		if paths[route.Path] == nil {
			paths[route.Path] = map[string]Route{}
		}
		paths[route.Path][route.Method] = route
	}
	mux := http.NewServeMux()
	for pattern, methods := range paths {
		allowed := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
		mux.HandleFunc(pattern, s.entered(func(w http.ResponseWriter, r *http.Request) error {
			route, ok := methods[r.Method]
			if !ok {
				w.Header().Set("Allow", allowed)
				return &Error{Code: "method_not_allowed", Message: fmt.Sprintf("%s takes %s only", pattern, allowed)}
			}
			// Before the body is wrapped: of its own one net/http knows that the client still sends it, and lets it read the answer.
			if route.MaxBody > s.limits.body && (r.ContentLength > s.limits.body || r.ContentLength < 0) {
				defer s.large.Add(-1)
				if s.large.Add(1) > int32(s.limits.large) {
					w.Header().Set("Retry-After", "1")
					w.Header().Set("Connection", "close") // so that nothing of it is read
					return ErrBusy
				}
			}
			r.Body = http.MaxBytesReader(w, r.Body, cmp.Or(route.MaxBody, s.limits.body))
			return route.Handle(w, r)
		}))
	}
	mux.HandleFunc("/", s.entered(func(_ http.ResponseWriter, r *http.Request) error {
		if !strings.HasPrefix(r.URL.Path, "/v1/") {
			return &Error{Code: "unknown_version", Message: "this process speaks version /v1 only; use a client of its version"}
		}
		return &Error{Code: "unknown_path", Message: "this process does not know this path; use a client of its version"}
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := r.URL.Path; path.Clean(p) != p && path.Clean(p)+"/" != p { // the mux would send the client elsewhere
			refuse(w, &Error{Code: "unknown_path", Message: "this process does not know this path; use a client of its version"}, nil)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// entered makes a handler that begins only while the server has not ended, and whose error is the answer.
func (s *server) entered(handle func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.enter() {
			panic(http.ErrAbortHandler)
		}
		defer s.running.Done()
		if conn, ok := r.Context().Value(peerKey{}).(*limitedConn); ok {
			conn.busy()
		}
		if err := handle(w, r); err != nil {
			refuse(w, err, nil)
		}
	}
}

// refuse answers with an error, and what was done before it.
func refuse(w http.ResponseWriter, err error, result json.RawMessage) {
	e, status := describe(err)
	respond(w, status, answer{Error: e, Result: result})
}

// conclude answers with the result of an action in steps, which may have failed at one of them.
func conclude(w http.ResponseWriter, result any, err error) error {
	if err != nil {
		done, _ := json.Marshal(result) // of numbers
		refuse(w, err, done)
		return nil
	}
	respond(w, http.StatusOK, result)
	return nil
}

func respond(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone
}

func (s *server) status(w http.ResponseWriter, r *http.Request) error {
	stats, err := s.opts.Outbox.Stats(r.Context())
	if err != nil {
		return err
	}
	status := Status{Outbox: stats, File: newFile(s.opts.Outbox)}
	status.Relay, status.DrainedBy = s.health(r.Context())
	respond(w, http.StatusOK, status)
	return nil
}

// events streams a list, page by page: no transaction of the outbox waits for a client.
func (s *server) events(w http.ResponseWriter, r *http.Request) error {
	f, err := parseFilter(r.URL.Query())
	if err != nil {
		return err
	}
	s.giveTime(w)
	left := f.Limit
	out := json.NewEncoder(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	for began := false; ; began = true {
		f.Limit = s.limits.page
		if left > 0 {
			f.Limit = min(f.Limit, left)
		}
		page, err := s.opts.Outbox.List(r.Context(), f)
		switch {
		case r.Context().Err() != nil:
			panic(http.ErrAbortHandler) // so that the client sees that this is not the end of the list
		case err != nil && !began:
			return err
		case err != nil:
			e, _ := describe(err)
			_ = out.Encode(answer{Error: e})
			return nil
		}
		s.giveTime(w)
		for _, info := range page {
			if out.Encode(info) != nil {
				return nil // nobody is there to be told
			}
			f.After = info.Sequence
		}
		left -= len(page)
		if len(page) < f.Limit || left == 0 {
			return nil
		}
	}
}

// giveTime begins the time anew that the client has to take what it is sent, and ends the one that its request had to arrive:
// net/http would cancel the request when that is over, although it is complete.
func (s *server) giveTime(w http.ResponseWriter) {
	control := http.NewResponseController(w) // net/http's own writer can do both
	_ = control.SetReadDeadline(time.Time{})
	_ = control.SetWriteDeadline(time.Now().Add(s.limits.stall))
}

func (s *server) event(w http.ResponseWriter, r *http.Request) error {
	sequence, err := strconv.ParseUint(r.PathValue("sequence"), 10, 64)
	if err != nil || sequence == 0 {
		return invalid("sequence: expected a number from 1 on")
	}
	payload := false
	for name, values := range r.URL.Query() {
		if name != "payload" || values[0] != "0" && values[0] != "1" {
			return invalid("payload=1 is all that can be asked for")
		}
		payload = values[0] == "1"
	}
	entry, info, err := s.opts.Outbox.Get(r.Context(), sequence)
	if err != nil {
		return err
	}
	e := Event{Info: info, Snapshot: entry.Snapshot, TraceParent: entry.TraceParent}
	if entry.Err != nil {
		e.Damaged = entry.Err.Error()
	}
	if payload {
		e.Payload = entry.Payload
	}
	respond(w, http.StatusOK, e)
	return nil
}

func (s *server) replay(w http.ResponseWriter, r *http.Request) error {
	var request ReplayRequest
	if err := decode(r.Body, &request); err != nil {
		return err
	}
	s.giveTime(w)
	if err := checkSequences(request.Sequences); err != nil {
		return err
	}
	result, err := s.opts.Outbox.Replay(r.Context(), request.Sequences, outbox.ReplayOptions{
		AllowStale: request.AllowStale, DryRun: request.DryRun, Actor: Actor(r.Context()), Filter: request.Filter, Reason: request.Reason,
		Progress: func(int) { s.giveTime(w) },
	})
	return conclude(w, result, err)
}

func (s *server) discard(w http.ResponseWriter, r *http.Request) error {
	var request DiscardRequest
	if err := decode(r.Body, &request); err != nil {
		return err
	}
	s.giveTime(w)
	if err := checkSequences(request.Sequences); err != nil {
		return err
	}
	result, err := s.opts.Outbox.Discard(r.Context(), request.Sequences, outbox.DiscardOptions{
		DryRun: request.DryRun, Actor: Actor(r.Context()), Filter: request.Filter, Reason: request.Reason,
		Progress: func(int) { s.giveTime(w) },
	})
	return conclude(w, result, err)
}

func checkSequences(sequences []uint64) error {
	if n := len(sequences); n > MaxSequences {
		return fmt.Errorf("%w: %d sequences, %d are the most at once", outbox.ErrTooLarge, n, MaxSequences)
	}
	return nil
}

func (s *server) audit(w http.ResponseWriter, r *http.Request) error {
	limit := uint64(0)
	for name, values := range r.URL.Query() {
		var err error
		if name != "limit" || len(values) > 1 {
			return invalid("limit, once, is all that can be asked for")
		}
		if limit, err = parseNumber(name, values[0]); err != nil {
			return err
		}
	}
	s.giveTime(w)
	entries, err := s.opts.Outbox.Audit(r.Context(), int(min(limit, 1<<31-1)))
	if err != nil {
		return err
	}
	respond(w, http.StatusOK, entries)
	return nil
}

// decode reads the body of a request: one JSON object with known fields.
func decode(body io.Reader, into any) error {
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, end := d.Token(); end != io.EOF {
			err = errors.New("something follows the object")
		}
	}
	var large *http.MaxBytesError
	switch {
	case err != nil && strings.HasPrefix(err.Error(), "json: unknown field"): // encoding/json has no type for it
		return &Error{Code: "unknown_field", Message: fmt.Sprintf("body: %v; use a client of the version of this process", err)}
	case errors.As(err, &large):
		return fmt.Errorf("%w: a request may have %d bytes", outbox.ErrTooLarge, large.Limit)
	case err != nil:
		return invalid("body: %v", err)
	}
	return nil
}

// Actor is who is connected, for the audit log: the name of the user whose process is at the other end of the socket, as the
// system tells, or "unknown". ctx is that of a Route's request.
func Actor(ctx context.Context) string {
	if conn, ok := ctx.Value(peerKey{}).(*limitedConn); ok {
		return peer(conn.Conn)
	}
	return "unknown"
}
