package control

import (
	"errors"

	"github.com/PitchConnect/matchrelay/outbox"
)

// Errors that callers tell apart with errors.Is, beside those of package outbox.
var (
	// ErrNotRunning: nobody serves the socket.
	ErrNotRunning = errors.New("no process serves the control socket")
	// ErrOtherUser: another user serves the socket, to whom nothing is sent.
	ErrOtherUser = errors.New("the control socket is another user's")
	// ErrInUse: another process serves the socket.
	ErrInUse = errors.New("another process serves the control socket")
	// ErrNoRelay: the process that serves the socket has no relay.
	ErrNoRelay = errors.New("the process has no relay")
	// ErrLeaseLost: another relay may drain the outbox now, for this one was not heard of in time.
	ErrLeaseLost = errors.New("the lease of the outbox is lost")
	// ErrKept: the process that has the outbox file open needs it itself.
	ErrKept = errors.New("the process that has the outbox open needs it itself")
	// ErrBusy: as many large requests are worked on as there may be at once; nothing was done.
	ErrBusy = errors.New("other large requests are worked on just now; repeat this one in a second")
	// ErrUnsupported: the process that serves the socket does not know the request: it is of another version.
	ErrUnsupported = errors.New("the process that serves the control socket does not know this request")
)

// Error is what a request was answered with.
type Error struct {
	// Code is one of not_found, invalid, too_large, full, disk_full, damaged, failed, closed, busy, no_relay, lease_lost, kept, unknown_path,
	// unknown_version, unknown_parameter, unknown_field, method_not_allowed, internal.
	Code string `json:"code"`
	// Message is for people.
	Message string `json:"message"`
	// Status is that of HTTP, for a Route's own codes; 0 means that of the code, or 500.
	Status int `json:"-"`
}

func (e *Error) Error() string { return e.Message }

// Is makes errors.Is find the error that it stands for.
func (e *Error) Is(target error) bool {
	for _, known := range codes {
		if known.code == e.Code && known.err == target {
			return true
		}
	}
	return false
}

// codes are the codes of errors, with the HTTP status that goes with them.
var codes = []struct {
	code   string
	status int
	err    error
}{
	{"not_found", 404, outbox.ErrNotFound},
	{"invalid", 400, outbox.ErrInvalid},
	{"too_large", 413, outbox.ErrTooLarge},
	{"full", 507, outbox.ErrFull},
	{"disk_full", 507, outbox.ErrDiskFull},
	{"damaged", 500, outbox.ErrDamaged},
	{"failed", 500, outbox.ErrFailed},
	{"closed", 503, outbox.ErrClosed},
	{"busy", 503, ErrBusy},
	{"no_relay", 409, ErrNoRelay},
	{"lease_lost", 409, ErrLeaseLost},
	{"kept", 409, ErrKept},
	{"unknown_path", 404, ErrUnsupported},
	{"unknown_version", 404, ErrUnsupported},
	{"unknown_parameter", 400, ErrUnsupported},
	{"unknown_field", 400, ErrUnsupported},
	{"method_not_allowed", 405, ErrUnsupported},
}

// describe makes an error an answer.
func describe(err error) (*Error, int) {
	var e *Error
	if errors.As(err, &e) {
		if e.Status != 0 {
			return e, e.Status
		}
		for _, known := range codes {
			if known.code == e.Code {
				return e, known.status
			}
		}
		return e, 500
	}
	for _, known := range codes {
		if errors.Is(err, known.err) {
			return &Error{Code: known.code, Message: err.Error()}, known.status
		}
	}
	return &Error{Code: "internal", Message: err.Error()}, 500
}
