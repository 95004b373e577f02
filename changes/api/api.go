package api

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/relay/control"
	"github.com/PitchConnect/matchrelay/schema"
)

// Options of an API. The zero value works.
type Options struct {
	// Previous reads a list that another program recorded, if there is one: it becomes the first state of an outbox without
	// one (changes.Recorder.Import). It is asked when the first list comes.
	Previous     func() (matches []schema.Match, found bool, err error)
	PreviousName string // of that list, for the log
	// Now is time.Now if it is nil.
	Now func() time.Time
	// Logger takes counts; nil discards them. Payloads and keys are never logged.
	Logger *slog.Logger
}

// API works on the match list and the events of one outbox. It is safe for concurrent use.
type API struct {
	recorder *changes.Recorder
	opts     Options
	keep     keeping
}

// New makes an API on a recorder.
func New(recorder *changes.Recorder, opts Options) *API {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &API{recorder: recorder, opts: opts, keep: standard}
}

// Routes are the endpoints, for control.Options.Routes and control.TCPOptions.Routes.
func (a *API) Routes() []control.Route {
	return []control.Route{
		{Method: "POST", Path: "/v1/matches", MaxBody: schema.MaxListBytes, Handle: a.postMatches},
		{Method: "GET", Path: "/v1/matches", Handle: a.getMatches},
		{Method: "GET", Path: "/v1/matches/{id}", Handle: a.getMatch},
		{Method: "GET", Path: "/v1/matches/{id}/history", Handle: a.getHistory},
		{Method: "POST", Path: "/v1/events", Handle: a.postEvent},
		{Method: "POST", Path: "/v1/resync", SocketOnly: true, Handle: a.postResync}, // the audit log names who asked
	}
}

// Routes are those of New(recorder, opts).
func Routes(recorder *changes.Recorder, opts Options) []control.Route {
	return New(recorder, opts).Routes()
}

// Record is changes.Recorder.Record, which see, after the import of Options.Previous.
func (a *API) Record(ctx context.Context, matches []schema.Match, meta changes.Metadata) (changes.Counts, error) {
	if err := a.prepare(ctx); err != nil {
		return changes.Counts{}, err
	}
	s, err := a.recorder.Record(ctx, matches, meta)
	return s.Counts(), err
}

// Preview is Record that writes nothing.
func (a *API) Preview(ctx context.Context, matches []schema.Match, meta changes.Metadata) (changes.Counts, error) {
	previous, found, err := a.previous(ctx)
	if err != nil {
		return changes.Counts{}, err
	}
	if found {
		return PreviewFirst(previous, matches, meta, a.opts.Now())
	}
	s, err := a.recorder.Preview(ctx, matches, meta)
	return s.Counts(), err
}

// PreviewFirst is Preview on an outbox without a list, which would import previous.
func PreviewFirst(previous, matches []schema.Match, meta changes.Metadata, now time.Time) (changes.Counts, error) {
	if len(matches) == 0 && len(previous) > 0 && !meta.AllowEmpty {
		return changes.Counts{}, changes.ErrEmptyList
	}
	return changes.Diff(previous, matches, now).Counts(), nil
}

// previous is what there is to import.
func (a *API) previous(ctx context.Context) (matches []schema.Match, found bool, err error) {
	if a.opts.Previous == nil {
		return nil, false, nil
	}
	if has, err := a.recorder.HasState(ctx); err != nil || has {
		return nil, false, err
	}
	return a.opts.Previous()
}

func (a *API) prepare(ctx context.Context) error {
	matches, found, err := a.previous(ctx)
	if err != nil || !found {
		return err
	}
	imported, err := a.recorder.Import(ctx, matches)
	if err == nil && imported {
		a.opts.Logger.Info("previous match list imported; only what changes from it on is told", "file", a.opts.PreviousName, "matches", len(matches))
	}
	return err
}

// Resync is changes.Recorder.Resync.
func (a *API) Resync(ctx context.Context, by changes.Operator) (changes.Resynced, error) {
	done, err := a.recorder.Resync(ctx, by)
	if err == nil && len(done.Sequences) == 0 {
		err = errEventsOff
	}
	return done, err
}

// PreviewResync is changes.Recorder.PreviewResync.
func (a *API) PreviewResync(ctx context.Context) (changes.Resynced, error) {
	return a.recorder.PreviewResync(ctx)
}

// stall is how long a client may take to take what it is sent, and what is done before it.
const stall = 30 * time.Second

// giveTime is called when a request is complete: what is left of the time that it had to arrive does not count any more.
func giveTime(w http.ResponseWriter) {
	c := http.NewResponseController(w) // net/http's own writer can do both
	_ = c.SetReadDeadline(time.Time{})
	_ = c.SetWriteDeadline(time.Now().Add(stall))
}
