package changes

import (
	"bytes"
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
func same(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	kindA, kindB := kindOf(a), kindOf(b)
	switch {
	case kindA == 'n' || kindB == 'n':
		return kindA == kindB
	case kindA == '{' && kindB == '{':
		return len(differing(membersOf(a), membersOf(b))) == 0
	case kindA == '[' && kindB == '[':
		return sameItems(schema.Items(a), schema.Items(b))
	case kindA == '0' && kindB == '0':
		return sameNumber(string(a), string(b))
	case kindA == kindB || scalar(kindA) && scalar(kindB):
		return schema.TextOf(a) == schema.TextOf(b)
	}
	return false
}

// kindOf is the first byte of a JSON value, 0 for every number, n for null and
// for what is absent.
func kindOf(value []byte) byte {
	switch {
	case len(value) == 0:
		return 'n'
	case value[0] == '-' || value[0] >= '0' && value[0] <= '9':
		return '0'
	}
	return value[0]
}

func scalar(kind byte) bool { return kind == '0' || kind == '"' }

// sameNumber compares 1 and 1.0 as equal, as long as a float64 can tell.
func sameNumber(a, b string) bool {
	const exact = 15 // digits that survive a float64
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && x == y && len(a) <= exact && len(b) <= exact
}

func sameItems(a, b [][]byte) bool {
	for i := range a {
		if len(a) != len(b) || !same(a[i], b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}

// differing returns the names of the members that do not mean the same.
func differing(a, b members) map[string]bool {
	names := map[string]bool{}
	for name := range a {
		if !same(a[name], b[name]) {
			names[name] = true
		}
	}
	for name := range b {
		if !same(a[name], b[name]) {
			names[name] = true
		}
	}
	return names
}
