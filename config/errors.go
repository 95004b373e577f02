package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

var (
	// ErrInvalid is what an [Error] is: at least one variable has a wrong value.
	ErrInvalid = errors.New("invalid configuration")

	// ErrEnvFile is returned when the .env file cannot be read or parsed, or others can have written it.
	ErrEnvFile = errors.New("cannot use the env file")
)

// FieldError is one wrong value.
type FieldError struct {
	Name     string // the variable
	Given    string // its value, secrets redacted
	Origin   Origin // where the value came from
	Expected string // what would be right
}

// Error is one line: the name, what was given, and what is expected.
func (e FieldError) Error() string {
	return fmt.Sprintf("%s: got %s (%s), expected %s", e.Name, quote(e.Given), e.Origin, e.Expected)
}

// Error holds every wrong value of a configuration, in the order of the table.
// errors.Is(err, ErrInvalid) is true for it.
type Error struct {
	Fields []FieldError
}

// Error is a heading and one line per wrong value.
func (e *Error) Error() string {
	lines := []string{fmt.Sprintf("%v: %d wrong", ErrInvalid, len(e.Fields))}
	for _, f := range e.Fields {
		lines = append(lines, "  "+f.Error())
	}
	return strings.Join(lines, "\n")
}

// Is reports whether target is ErrInvalid.
func (e *Error) Is(target error) bool { return target == ErrInvalid }

// quote keeps a value on one line and short: a certificate pasted into the
// wrong variable must not fill the log.
func quote(s string) string {
	const longest = 80
	if r := []rune(s); len(r) > longest {
		s = string(r[:longest]) + "..."
	}
	return fmt.Sprintf("%q", s)
}

// expected is the error of a parser: what the value should have looked like.
type expected string

func (e expected) Error() string { return "expected " + string(e) }

// problems collects at most one FieldError per variable.
type problems map[string]FieldError

// asError returns nil if there are none, else an *Error in table order.
func (p problems) asError() error {
	if len(p) == 0 {
		return nil
	}
	e := &Error{}
	for _, v := range variables {
		if f, ok := p[v.Name]; ok {
			e.Fields = append(e.Fields, f)
		}
	}
	return e
}

// any reports whether one of names already has a problem, so that a check
// across several variables does not pile a second error onto the first.
func (p problems) any(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { _, ok := p[n]; return ok })
}
