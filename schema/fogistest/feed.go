package fogistest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"
)

// A Feed is a match list that changes as it is told. It is not safe for
// concurrent use.
type Feed struct {
	random   *rand.Rand
	day      time.Time
	next     int // number of the next new match
	referees int // so far: each has an id of their own
	matches  []object
}

// New makes a feed of n matches, played on day and in the three weeks after
// it, of which only about one in twenty on day itself.
func New(seed uint64, n int, day time.Time) *Feed {
	f := &Feed{random: rand.New(rand.NewPCG(seed, 2)), day: day}
	for range n {
		f.add()
	}
	return f
}

// List is the JSON of a fresh feed.
func List(seed uint64, n int, day time.Time) []byte { return New(seed, n, day).JSON() }

// Len is the number of matches in the list.
func (f *Feed) Len() int { return len(f.matches) }

// JSON is the current list: a JSON list, one match a line.
func (f *Feed) JSON() []byte {
	var b bytes.Buffer
	b.WriteByte('[')
	for i, m := range f.matches {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString("\n")
		m.write(&b)
	}
	b.WriteString("\n]\n")
	return b.Bytes()
}

// An object is a JSON object whose members keep their order.
type object []member

type member struct {
	name  string
	value any
}

func (o object) get(name string) any { return *o.at(name) }

func (o object) set(name string, value any) { *o.at(name) = value }

func (o object) at(name string) *any {
	for i := range o {
		if o[i].name == name {
			return &o[i].value
		}
	}
	panic("fogistest: no member " + name)
}

func (o object) write(b *bytes.Buffer) {
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(b, "%q: ", m.name)
		writeValue(b, m.value)
	}
	b.WriteByte('}')
}

func writeValue(b *bytes.Buffer, value any) {
	switch v := value.(type) {
	case object:
		v.write(b)
	case []object:
		b.WriteByte('[')
		for i, o := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			o.write(b)
		}
		b.WriteByte(']')
	default:
		e := json.NewEncoder(b)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			panic(err)
		}
		b.Truncate(b.Len() - 1) // the newline
	}
}

func pick[T any](f *Feed, from []T) T { return from[f.random.IntN(len(from))] }
