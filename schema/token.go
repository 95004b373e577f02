package schema

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/bits"
	"unicode/utf8"
)

func (s *scanner) word(w string) error {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(w)) {
		return s.fail("expected a JSON value")
	}
	s.pos += len(w)
	return nil
}

// plain are the bytes that stand for themselves inside a text: ASCII without
// controls, quotes and backslashes.
var plain = func() (t [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// plainBytes is how many of the eight bytes of w, from the lowest, are plain.
// The subtractions borrow into the top bit of each byte that is below the
// bound; a borrow may spoil bytes above the first hit, never below it.
func plainBytes(w uint64) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	quote, backslash := w^'"'*ones, w^'\\'*ones
	hits := (w | (w - ' '*ones) | (quote - ones) | (backslash - ones)) & tops
	return bits.TrailingZeros64(hits) / 8
}

// text scans a text in quotes and reports whether it holds escapes.
func (s *scanner) text() (escaped bool, err error) {
	data, i := s.data, s.pos+1
	for {
		for i+8 <= len(data) {
			n := plainBytes(binary.LittleEndian.Uint64(data[i:]))
			i += n
			if n < 8 {
				break
			}
		}
		for i < len(data) && plain[data[i]] {
			i++
		}
		s.pos = i
		if i == len(data) {
			return false, s.fail("the JSON ends inside a text")
		}
		switch c := data[i]; {
		case c == '"':
			s.pos++
			return escaped, nil
		case c == '\\':
			escaped = true
			n := escapeLen(data[i:])
			if n == 0 {
				return false, s.fail("invalid escape in a text")
			}
			i += n
		case c < ' ':
			return false, s.fail("unescaped control character in a text")
		default:
			r, n := utf8.DecodeRune(data[i:])
			if r == utf8.RuneError && n == 1 {
				return false, s.fail("a text is not UTF-8")
			}
			i += n
		}
	}
}

// escapeLen is the length of the escape that b begins with, 0 if it is not one.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) < 6 {
			return 0
		}
		for _, c := range b[2:6] {
			if !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f') {
				return 0
			}
		}
		return 6
	}
	return 0
}

// What a number may have. Programs that take more of it compute for seconds, or
// fail: Python's json reads no integer of more than 4,300 digits.
const (
	maxNumber   = 1000 // characters
	maxExponent = 3    // digits of its exponent
)

// number scans a number that begins with c. NaN and Infinity, which some
// encoders write, are noted under their names, and so is what is too large.
func (s *scanner) number(c byte) (kind, error) {
	start := s.pos
	for _, w := range [...]string{"NaN", "Infinity", "-Infinity"} {
		if c == w[0] && bytes.HasPrefix(s.data[s.pos:], []byte(w)) {
			s.note(w + " is not JSON, expected a number or null")
			s.pos += len(w)
			return null, nil
		}
	}
	if c == '-' {
		s.pos++
	}
	if s.pos < len(s.data) && s.data[s.pos] == '0' {
		s.pos++
	} else if s.digits() == 0 {
		return 0, s.fail("expected a JSON value")
	}
	is := integer
	if s.pos < len(s.data) && s.data[s.pos] == '.' {
		s.pos++
		is = fraction
		if s.digits() == 0 {
			return 0, s.fail("expected a digit")
		}
	}
	if s.pos < len(s.data) && s.data[s.pos]|0x20 == 'e' {
		s.pos++
		is = fraction
		if s.pos < len(s.data) && (s.data[s.pos] == '+' || s.data[s.pos] == '-') {
			s.pos++
		}
		switch n := s.digits(); {
		case n == 0:
			return 0, s.fail("expected a digit")
		case n > maxExponent && !s.stored:
			s.note(fmt.Sprintf("expected a number whose exponent has at most %d digits, it has %d", maxExponent, n))
		}
	}
	if n := s.pos - start; n > maxNumber && !s.stored {
		s.note(fmt.Sprintf("expected a number of at most %d characters, got %d", maxNumber, n))
	}
	return is, nil
}

func (s *scanner) digits() (n int) {
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		s.pos++
		n++
	}
	return n
}

// unquote returns the text that b, a scanned text in its quotes, stands for.
func unquote(b []byte) string {
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b[1 : len(b)-1])
	}
	var t string
	_ = json.Unmarshal(b, &t) // cannot fail: the text has been scanned
	return t
}
