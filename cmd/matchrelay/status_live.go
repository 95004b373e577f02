package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// leastWatch is the shortest time between two looks.
const leastWatch = 100 * time.Millisecond

// look reads the status: from the process that has the outbox open, or from the file.
func (a *app) look(ctx context.Context, cfg *config.Config) (s status, err error) {
	o, err := openToRead(ctx, cfg, a.logger(cfg))
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	if live, ok := o.(*liveStore); ok {
		s = newStatus(live.status.Outbox, live.status.File.Path, cfg, time.Now())
		s.Live = true
		s.addHealth(live.status.Relay)
		return s, nil
	}
	file := o.(*outbox.Outbox)
	stats, err := file.Stats(ctx)
	if err != nil {
		return s, err
	}
	return newStatus(stats, file.Path(), cfg, time.Now()), nil
}

// addHealth adds what only a running relay knows; nil is a process without one.
func (s *status) addHealth(h *relay.Health) {
	if h == nil {
		return
	}
	s.Relay = newRelayStatus(*h)
	for i := range s.Topics {
		row := &s.Topics[i]
		t, relayed := h.Topics[row.Topic]
		if !relayed {
			continue
		}
		row.State, row.LastError, row.Amnesias, row.Readded, row.Stream = t.State, t.LastError, t.Amnesias, t.Readded, t.Stream
		if t.Receivers >= 0 {
			row.Receivers = t.Receivers
		}
		if t.State == relay.Held {
			row.Held = row.Pending
		}
	}
}

func newRelayStatus(h relay.Health) relayStatus {
	s := relayStatus{State: h.State, LastError: h.LastError}
	if !h.Since.IsZero() {
		s.Since = h.Since.UTC().Format(time.RFC3339Nano)
	}
	return s
}

// text is the relay's state for people.
func (r relayStatus) text(zone *time.Location) string {
	text := strings.ReplaceAll(string(r.State), "_", " ")
	if since, err := time.Parse(time.RFC3339Nano, r.Since); err == nil && r.State != relay.NotRunning {
		text += " since " + since.In(zone).Format(time.DateTime)
	}
	if r.LastError != "" {
		text += ": " + brief(r.LastError)
	}
	return text
}

// watch shows the status again and again until ctx ends: in place on a terminal, one below the other elsewhere. Only the first
// look must succeed.
func (a *app) watch(ctx context.Context, cfg *config.Config, every time.Duration) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for first := true; ; first = false {
		s, err := a.look(ctx, cfg)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && first:
			return err
		case err != nil:
			_, message := explain(err)
			fmt.Fprintln(a.stderr, "matchrelay: "+harmless(message))
		default:
			if err := a.redraw(s, cfg, first); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (a *app) redraw(s status, cfg *config.Config, first bool) error {
	return a.print(s, func(w io.Writer) {
		switch {
		case a.terminal(a.stdout):
			fmt.Fprint(w, "\x1b[H\x1b[2J") // to the top, and clear
		case !first:
			fmt.Fprintln(w)
		}
		writeStatus(w, s, cfg)
	})
}
