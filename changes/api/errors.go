package api

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay/control"
	"github.com/PitchConnect/matchrelay/schema"
)

// ErrKeyReused: the Idempotency-Key came with another request before.
var ErrKeyReused = errors.New("the Idempotency-Key was used for another request; send each request under a key of its own, and the same one only to repeat it")

var (
	errInvalidEvent = errors.New("invalid event")
	errWrongTopic   = errors.New("match updates are not posted as events")
	errEventsOff    = errors.New("no event is appended: REDIS_PUBSUB_ENABLED is false; set it to true")
)

// codes are the codes of errors that package control does not know, with the HTTP status that goes with them. The first
// that fits decides.
var codes = []struct {
	code   string
	status int
	err    error
}{
	{"key_reused", http.StatusUnprocessableEntity, ErrKeyReused},
	{"empty_list", http.StatusUnprocessableEntity, changes.ErrEmptyList},
	{"stale_list", http.StatusConflict, changes.ErrStale},
	{"no_state", http.StatusNotFound, changes.ErrNoState},
	{"state_damaged", http.StatusInternalServerError, changes.ErrState},
	{"invalid_list", http.StatusBadRequest, schema.ErrMatchList},
	{"too_large", http.StatusRequestEntityTooLarge, schema.ErrTooLarge},
	{"invalid_event", http.StatusBadRequest, errInvalidEvent},
	{"wrong_endpoint", http.StatusUnprocessableEntity, errWrongTopic},
	{"events_off", http.StatusConflict, errEventsOff},
}

// described makes an error one that control answers with its code. Those that control knows stay as they are.
func described(err error) error {
	for _, known := range codes {
		if errors.Is(err, known.err) {
			return &control.Error{Code: known.code, Message: err.Error(), Status: known.status}
		}
	}
	return err
}

// remoteError is an answer of the API with the error that it stands for.
type remoteError struct{ answer, is error }

func (e *remoteError) Error() string   { return e.answer.Error() }
func (e *remoteError) Unwrap() []error { return []error{e.answer, e.is} }

// recognised is the reverse of described.
func recognised(err error) error {
	var e *control.Error
	if !errors.As(err, &e) {
		return err
	}
	if e.Code == "unknown_path" {
		return fmt.Errorf("%w (a Go processor answers it with api.Routes)", err)
	}
	for _, known := range codes {
		if e.Code == known.code {
			return &remoteError{e, known.err}
		}
	}
	return err
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{outbox.ErrInvalid}, args...)...)
}
