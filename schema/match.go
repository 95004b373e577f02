package schema

import (
	"iter"
	"strings"
)

// A Match is one match of a list: its bytes as they were given, and its id.
// Every Match but the zero one has passed ParseMatches.
//
// Nothing else is decoded until it is asked for: in a list of a thousand
// matches usually all but one are compared by their bytes only.
type Match struct {
	raw []byte
	id  string
}

// ID is the matchid as text: 6186203 and "6186203" name the same match. A text
// is taken as it is, so "06186203" is another one.
func (m Match) ID() string { return m.id }

// Raw are the bytes of the match, exactly as they were given. They alias what
// was parsed and must not be changed.
func (m Match) Raw() []byte { return m.raw }

// Members yields the top-level members in their order: the name, and the bytes
// of the value as they were given.
func (m Match) Members() iter.Seq2[string, []byte] { return Members(m.raw) }

// Members yields the members of a JSON object that has been checked before,
// such as a referee within a match. It yields nothing for any other value.
func Members(object []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		s := scanner{data: object, limit: messageDepth}
		if s.peek() != '{' {
			return
		}
		more := true
		_ = s.members(func(name []byte) error {
			value, err := s.value(nil)
			more = more && err == nil && yield(string(name), value)
			return err
		})
	}
}

// Items returns the items of a JSON list that has been checked before. It
// returns none for any other value.
func Items(list []byte) (items [][]byte) {
	s := scanner{data: list, limit: messageDepth}
	if s.peek() != '[' {
		return nil
	}
	_ = s.items(func(int) error {
		value, err := s.value(nil)
		items = append(items, value)
		return err
	})
	return items
}

// Text returns the named top-level member as text: the text itself, or the
// number or word as it is written. null, and a member that is not there, are "".
func (m Match) Text(name string) string {
	var value []byte
	for n, v := range m.Members() {
		if n == name {
			value = v
		}
	}
	return TextOf(value)
}

// TextOf returns a JSON value that has been checked before as text, like
// Match.Text. Texts of digits and numbers thereby compare equal.
func TextOf(value []byte) string {
	switch {
	case len(value) == 0 || string(value) == "null":
		return ""
	case value[0] == '"':
		return unquote(value)
	}
	return string(value)
}

// maxIDBytes keeps ids usable as database keys and in log lines.
const maxIDBytes = 64

// parseID returns the canonical text of a matchid, or what is wrong with it.
func parseID(value []byte) (id, wrong string) {
	id = TextOf(value)
	switch {
	case id == "":
		return "", "expected an integer or a text, it is missing or empty"
	case value[0] == '-':
		return "", "expected an integer of 0 or more"
	case len(id) > maxIDBytes:
		return "", "expected at most 64 characters"
	case strings.ContainsFunc(id, notInID):
		return "", "expected an integer, or a text of ASCII letters, digits and . _ : -"
	}
	return id, ""
}

func notInID(r rune) bool {
	return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("._:-", r))
}
