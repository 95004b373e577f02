package schema

import "errors"

// The errors of this package wrap one of these.
var (
	// ErrMatchList: the bytes are not a usable match list.
	ErrMatchList = errors.New("invalid match list")
	// ErrTooLarge: a match list has more than MaxListBytes bytes or MaxMatches matches.
	ErrTooLarge = errors.New("match list too large")
	// ErrMessage: a message cannot be built, or read, or breaks its JSON Schema.
	ErrMessage = errors.New("invalid message")
)
