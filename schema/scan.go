package schema

import (
	"errors"
	"fmt"
	"strconv"
)

// MaxDepth is how deep a match list may nest lists and objects, the list or
// object around the matches being 1. Messages may go a few levels deeper.
const MaxDepth = 64

// messageDepth leaves room for what a message puts around matches and changes.
const messageDepth = MaxDepth + 8

// A scanner checks JSON and finds its parts in one pass, without copying.
//
// Bytes that break the grammar end the scan with an error. What is wrong
// without breaking it (a value of the wrong type, NaN) is noted as a misfit and
// the scan goes on: only at the end of a match is its id known for certain,
// and the error must name it.
type scanner struct {
	data   []byte
	limit  int  // of depth
	stored bool // it was accepted before: people, fields and numbers have no limits
	pos    int
	depth  int
	path   []segment // where the scan is, within members that a rule covers
	misfit *misfit   // the first one since it was last cleared
	id     []byte    // the value of the last member whose field rule says id
}

// A segment is a member's name or, when name is nil, an index.
type segment struct {
	name  []byte
	index int
}

type misfit struct{ field, reason string }

// A syntaxError says in which field and at which byte the JSON breaks off.
type syntaxError struct {
	field, reason string
	offset        int
}

func (e *syntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.reason, e.offset) }

func (s *scanner) fail(reason string) error {
	return &syntaxError{field: s.field(), reason: reason, offset: s.pos}
}

func (s *scanner) note(reason string) {
	if s.misfit == nil {
		s.misfit = &misfit{field: s.field(), reason: reason}
	}
}

// field renders the path, such as domaruppdraglista[1].personnamn. Names come
// from outside: they are cut, and quoted where they are not plain.
func (s *scanner) field() string {
	var b []byte
	for _, p := range s.path {
		if p.name == nil {
			b = append(b, '[')
			b = strconv.AppendInt(b, int64(p.index), 10)
			b = append(b, ']')
			continue
		}
		if len(b) > 0 {
			b = append(b, '.')
		}
		b = append(b, p.name[:min(len(p.name), 40)]...)
	}
	if quoted := strconv.QuoteToASCII(string(b)); len(quoted) != len(b)+2 {
		return quoted
	}
	return string(b)
}

// checkJSON returns an error unless data is one JSON value, nested at most
// limit deep, and nothing else.
func checkJSON(data []byte, limit int) error { return scan(scanner{data: data, limit: limit}) }

// checkStored is checkJSON for what was accepted before, whatever numbers it has.
func checkStored(data []byte, limit int) error {
	return scan(scanner{data: data, limit: limit, stored: true})
}

func scan(s scanner) error {
	if _, err := s.value(nil); err != nil {
		return err
	}
	if s.misfit != nil {
		return errors.New(s.misfit.reason)
	}
	return s.end()
}

// end expects nothing but white space to be left.
func (s *scanner) end() error {
	if s.peek(); s.pos < len(s.data) {
		return s.fail("unexpected data after the JSON value")
	}
	return nil
}

// peek skips white space and returns the next byte, 0 at the end of the data.
func (s *scanner) peek() byte {
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		if c > ' ' || c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c
		}
		s.pos++
	}
	return 0
}

// value scans one value, notes it if r (when not nil) wants another type, and
// returns its bytes.
func (s *scanner) value(r *rule) ([]byte, error) {
	var is kind
	var err error
	c := s.peek()
	start := s.pos
	switch c {
	case '"':
		is = text
		_, err = s.text()
	case '{':
		is, err = object, s.object(r)
	case '[':
		is, err = list, s.list(r)
	case 't':
		is, err = boolean, s.word("true")
	case 'f':
		is, err = boolean, s.word("false")
	case 'n':
		is, err = null, s.word("null")
	default:
		is, err = s.number(c)
	}
	if err != nil {
		return nil, err
	}
	if r != nil && is&r.want == 0 {
		s.note("expected " + r.expected + ", got " + is.String())
	}
	return s.data[start:s.pos], nil
}

// object scans an object whose members r (when not nil) rules.
func (s *scanner) object(r *rule) error {
	if r == nil || r.fields == nil {
		return s.members(nil)
	}
	var seen uint64
	found := 0
	err := s.members(func(name []byte) error {
		found++
		f, known := r.fields[string(name)]
		if !known {
			f = unknownField
		}
		s.path = append(s.path, segment{name: name})
		if seen&f.bit != 0 {
			s.note("the field is there twice")
		}
		seen |= f.bit
		value, err := s.value(f.rule)
		if err != nil {
			return err
		}
		if f.id {
			s.id = value
		}
		s.path = s.path[:len(s.path)-1]
		return nil
	})
	if err == nil && found > MaxFields && !s.stored {
		s.note(fmt.Sprintf("expected at most %d fields, got %d", MaxFields, found))
	}
	return err
}

// members scans an object. It calls member, when not nil, with each name
// (unescaped) at the point where the value is due; member has to scan it.
func (s *scanner) members(member func(name []byte) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	if s.peek() == '}' {
		s.leave()
		return nil
	}
	for {
		if s.peek() != '"' {
			return s.fail("expected a member name in quotes")
		}
		start := s.pos
		escaped, err := s.text()
		if err != nil {
			return err
		}
		name := s.data[start:s.pos]
		if s.peek() != ':' {
			return s.fail("expected ':' after a member name")
		}
		s.pos++
		if member == nil {
			_, err = s.value(nil)
		} else if escaped {
			err = member([]byte(unquote(name)))
		} else {
			err = member(name[1 : len(name)-1])
		}
		if err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.pos++
		case '}':
			s.leave()
			return nil
		default:
			return s.fail("expected ',' or '}' after a member")
		}
	}
}

// list scans a list whose items r (when not nil) rules.
func (s *scanner) list(r *rule) error {
	if r == nil || r.items == nil {
		return s.items(func(int) error { _, err := s.value(nil); return err })
	}
	found := 0
	err := s.items(func(i int) error {
		found = i + 1
		s.path = append(s.path, segment{index: i})
		_, err := s.value(r.items)
		if err == nil {
			s.path = s.path[:len(s.path)-1]
		}
		return err
	})
	if err == nil && r.most > 0 && found > r.most && !s.stored {
		s.note(fmt.Sprintf("expected at most %d items, got %d", r.most, found))
	}
	return err
}

// items scans a list, calling item where each item is due; item has to scan it.
func (s *scanner) items(item func(i int) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	if s.peek() == ']' {
		s.leave()
		return nil
	}
	for i := 0; ; i++ {
		if err := item(i); err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.pos++
		case ']':
			s.leave()
			return nil
		default:
			return s.fail("expected ',' or ']' after an item")
		}
	}
}

func (s *scanner) enter() error {
	if s.depth++; s.depth > s.limit {
		return s.fail(fmt.Sprintf("lists and objects are nested deeper than %d levels", s.limit))
	}
	s.pos++
	return nil
}

func (s *scanner) leave() {
	s.depth--
	s.pos++
}
