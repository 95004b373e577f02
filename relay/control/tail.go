package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/PitchConnect/matchrelay/outbox"
)

// tail streams the events of a filter and goes on with those that are appended, until the client goes away or this process
// ends. It waits for commits: while nothing is appended, nothing runs.
func (s *server) tail(w http.ResponseWriter, r *http.Request) error {
	f, err := parseFilter(r.URL.Query())
	if err == nil && (f.Limit != 0 || f.Through != 0 || !f.Until.IsZero()) {
		err = invalid("a tail has no end: expected no limit, through or until")
	}
	if err != nil {
		return err
	}
	f.Limit = s.limits.page
	s.giveTime(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	flusher := http.NewResponseController(w)
	out := json.NewEncoder(w)
	for {
		appended := s.opts.Outbox.Appended() // before the log is read, so that no commit is missed
		for more := true; more; {
			page, err := s.opts.Outbox.List(r.Context(), f)
			if r.Context().Err() != nil {
				return nil
			}
			s.giveTime(w)
			if err != nil {
				e, _ := describe(err)
				_ = out.Encode(answer{Error: e}) // the client has gone
				return nil
			}
			for _, info := range page {
				if out.Encode(info) != nil {
					return nil
				}
				f.After = info.Sequence
			}
			more = len(page) == f.Limit
		}
		if flusher.Flush() != nil {
			return nil
		}
		select {
		case <-appended:
		case <-r.Context().Done():
			return nil
		}
	}
}

// Tail calls each for every event of a filter, in order, and for those that are appended from then on; its error ends it.
// It returns ErrNotRunning when the process has ended: dial whoever has the outbox open next, and go on behind the last
// event. A filter with an end (Limit, Through, Until) is outbox.ErrInvalid.
func (c *Client) Tail(ctx context.Context, f outbox.Filter, each func(outbox.Info) error) error {
	err := c.lines(ctx, "/v1/tail?"+query(f).Encode(), each)
	if ctx.Err() == nil && err == io.EOF { // the process has ended well
		return fmt.Errorf("control socket %s: %w any more", c.path, ErrNotRunning)
	}
	return err
}
