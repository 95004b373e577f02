package schema

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// The limits of a match list.
const (
	MaxListBytes = 64 << 20
	MaxMatches   = 50_000
	MaxPeople    = 200   // referees of a match, and contacts of one
	MaxFields    = 1_000 // of a match, a referee or a contact
)

// A MatchError says what is wrong with one match of a list. It wraps
// ErrMatchList and holds no value but the id.
type MatchError struct {
	Index  int    // in the list, from 0
	ID     string // "" if it could not be read
	Field  string // "" if it is the match as a whole
	Reason string
}

func (e *MatchError) Error() string {
	s := fmt.Sprintf("%v: matches[%d]", ErrMatchList, e.Index)
	if e.ID != "" {
		s += " (matchid " + e.ID + ")"
	}
	if e.Field != "" {
		s += ": field " + e.Field
	}
	return s + ": " + e.Reason
}

func (e *MatchError) Unwrap() error { return ErrMatchList }

// DecodeMatches reads a match list to its end and parses it like ParseMatches.
// It reads at most MaxListBytes.
func DecodeMatches(r io.Reader) ([]Match, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxListBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read match list: %w", err)
	}
	return ParseMatches(data)
}

// ParseMatches parses a match list: [...], {"matches": [...]} or
// {"matchlista": [...]}. Each match must be an object with a matchid (an
// integer, or a text of up to 64 letters, digits and . _ : -) that no other
// match has; the fields that subscribers use must have their types, or be null
// or absent. It may have MaxPeople referees, as many contacts, and MaxFields
// fields, as they may. Other fields may hold anything.
//
// The matches alias data, which must not be changed afterwards. Errors are a
// *MatchError or wrap ErrMatchList or ErrTooLarge.
func ParseMatches(data []byte) ([]Match, error) { return parseMatches(data, false) }

// ParseStored is ParseMatches for a list that was accepted before: whatever
// people, fields and numbers it has. Limits that came later do not make it
// unreadable.
func ParseStored(data []byte) ([]Match, error) { return parseMatches(data, true) }

func parseMatches(data []byte, stored bool) ([]Match, error) {
	if len(data) > MaxListBytes {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, MaxListBytes)
	}
	// Windows programs put a byte order mark before UTF-8.
	p := listParser{scanner: scanner{data: bytes.TrimPrefix(data, []byte("\ufeff")), limit: MaxDepth, stored: stored}}
	err := p.document()
	if err == nil {
		err = p.end()
	}
	var syntax *syntaxError
	if errors.As(err, &syntax) {
		return nil, fmt.Errorf("%w: %w", ErrMatchList, err)
	}
	return p.matches, err
}

type listParser struct {
	scanner
	matches []Match
	index   map[string]int // by id
}

const wrongShape = `expected a list of matches, {"matches": [...]} or {"matchlista": [...]}`

func (p *listParser) document() error {
	switch p.peek() {
	case '[':
		return p.list()
	case '{':
	case 0:
		return p.fail("no JSON value found")
	default:
		return fmt.Errorf("%w: %s", ErrMatchList, wrongShape)
	}
	found := false
	err := p.members(func(name []byte) error {
		if n := string(name); n != "matches" && n != "matchlista" {
			_, err := p.value(nil)
			return err
		}
		if found {
			return fmt.Errorf("%w: it holds more than one list of matches", ErrMatchList)
		}
		found = true
		if p.peek() != '[' {
			return fmt.Errorf("%w: %s", ErrMatchList, wrongShape)
		}
		return p.list()
	})
	switch {
	case err != nil:
		return err
	case !found:
		return fmt.Errorf("%w: %s", ErrMatchList, wrongShape)
	case p.misfit != nil:
		return fmt.Errorf("%w: beside the list of matches: %s", ErrMatchList, p.misfit.reason)
	}
	return nil
}

func (p *listParser) list() error {
	p.matches = []Match{}
	p.index = map[string]int{}
	beside := p.misfit
	err := p.items(p.match)
	p.misfit = beside
	return err
}

func (p *listParser) match(i int) error {
	if i == MaxMatches {
		return fmt.Errorf("%w: more than %d matches", ErrTooLarge, MaxMatches)
	}
	p.id, p.misfit = nil, nil
	raw, err := p.value(matchRule)
	id, wrong := parseID(p.id)
	var syntax *syntaxError
	switch {
	case errors.As(err, &syntax):
		return &MatchError{Index: i, ID: id, Field: syntax.field, Reason: syntax.Error()}
	case p.misfit != nil:
		return &MatchError{Index: i, ID: id, Field: p.misfit.field, Reason: p.misfit.reason}
	case wrong != "":
		return &MatchError{Index: i, Field: "matchid", Reason: wrong}
	}
	if first, twice := p.index[id]; twice {
		return &MatchError{Index: i, ID: id, Field: "matchid", Reason: fmt.Sprintf("matches[%d] has the same id", first)}
	}
	p.index[id] = i
	p.matches = append(p.matches, Match{raw: raw, id: id})
	return nil
}
