package changes

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/PitchConnect/matchrelay/schema"
)

// members are the members of an object by name; the last of a name counts, as
// it does for subscribers.
type members map[string][]byte

func membersOf(object []byte) members {
	m := members{}
	for name, value := range schema.Members(object) {
		m[name] = value
	}
	return m
}

func (m members) text(name string) string { return schema.TextOf(m[name]) }

// same reports whether two values mean the same: null is as good as absent, the
// order of members and white space do not matter, nor whether a number is sent
// as a text, for FOGIS does so with ids, goals and coordinates.
func same(a, b []byte) bool { return bytes.Equal(a, b) || equal(decoded(a), decoded(b)) }

// decoded is the value of JSON that has been checked before: nil (also for what
// is absent), a bool, a json.Number, a string, an []any or a map[string]any. It
// is read once, however deep it is nested; schema.Members would read what is
// inside once more at each level.
func decoded(value []byte) (v any) {
	switch {
	case len(value) == 0:
		return nil
	case value[0] == '"':
		return schema.TextOf(value)
	case value[0] == '-' || value[0] >= '0' && value[0] <= '9':
		return json.Number(value)
	}
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	_ = d.Decode(&v) // has been checked before
	return v
}

func equal(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		for name, value := range a {
			if !ok || !equal(value, b[name]) {
				return false
			}
		}
		for name, value := range b {
			if _, compared := a[name]; !compared && value != nil {
				return false
			}
		}
		return ok
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	case json.Number:
		switch b := b.(type) {
		case json.Number:
			return a == b || sameNumber(string(a), string(b))
		case string:
			return string(a) == b
		}
		return false
	case string:
		switch b := b.(type) {
		case json.Number:
			return a == string(b)
		case string:
			return a == b
		}
		return false
	}
	return a == b // nil and booleans
}

// exact is how many characters of a number survive a float64.
const exact = 15

// sameNumber compares 1 and 1.0 as equal, as long as a float64 can tell.
func sameNumber(a, b string) bool {
	if len(a) > exact || len(b) > exact {
		return false
	}
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && x == y
}

// content is a key for values that mean the same: they have it in common. So do
// texts that write one number in two ways, such as "1" and "1.0": whoever pairs
// by it has to compare the pair.
func content(value []byte) string {
	b, _ := json.Marshal(normal(decoded(value))) // of what JSON was decoded to
	return string(b)
}

// normal writes a decoded value in the one way that content needs.
func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if v[name] = normal(value); v[name] == nil {
				delete(v, name)
			}
		}
	case []any:
		for i := range v {
			v[i] = normal(v[i])
		}
	case json.Number:
		return normalNumber(string(v))
	case string:
		if len(v) <= exact && json.Valid([]byte(v)) {
			return normalNumber(v)
		}
	}
	return v
}

func normalNumber(s string) string {
	if x, err := strconv.ParseFloat(s, 64); err == nil && len(s) <= exact {
		return strconv.FormatFloat(x+0, 'g', -1, 64) // -0 + 0 is 0
	}
	return s
}

// differing returns the names of the members that do not mean the same; not all
// of them once ctx has ended.
func differing(ctx context.Context, a, b members) map[string]bool {
	names := map[string]bool{}
	for name := range a {
		if ctx.Err() != nil {
			break
		}
		if !same(a[name], b[name]) {
			names[name] = true
		}
	}
	for name := range b {
		if ctx.Err() != nil {
			break
		}
		if _, compared := a[name]; !compared && !same(nil, b[name]) {
			names[name] = true
		}
	}
	return names
}
