package changes

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/PitchConnect/matchrelay/schema"
)

// An official is one referee's assignment to a match.
type official struct {
	raw []byte
	members
}

func officialsOf(m members) (list []official) {
	for _, raw := range schema.Items(m["domaruppdraglista"]) {
		list = append(list, official{raw, membersOf(raw)})
	}
	return list
}

func (o official) id() string { return o.text("domareid") }

// role identifies the role: by its id, or its name where there is none.
func (o official) role() string {
	if id := o.text("domarrollid"); id != "" {
		return id
	}
	return o.text("domarrollnamn")
}

func (o official) name() string     { return o.text("personnamn") }
func (o official) roleName() string { return o.text("domarrollnamn") }

// compareReferees pairs the referees before and after: first those of whom
// nothing changed, then those who kept their role, then those who have another
// one, then those who took over a role. Whoever is left was removed or added.
// The order of the list means nothing, also when it names somebody twice.
func (p *pair) compareReferees() {
	const field = "domaruppdraglista"
	prev, curr := officialsOf(p.prev), officialsOf(p.curr)
	if len(prev) == 0 && len(curr) > 0 {
		p.field(assignment, field, "referees assigned: "+p.title(p.curr))
		return
	}
	note := func(before, after official, format string, args ...any) {
		p.add(referee, field, before.raw, after.raw, fmt.Sprintf(format, args...)+": "+p.title(p.curr))
	}
	match(&prev, &curr, func(a, b official) bool { return len(differing(a.members, b.members)) == 0 }, func(_, _ official) {})
	match(&prev, &curr, func(a, b official) bool { return a.id() == b.id() && a.role() == b.role() }, func(a, b official) {
		names := slices.Sorted(maps.Keys(differing(a.members, b.members)))
		note(a, b, "%s of %s %s changed", strings.Join(names, ", "), b.roleName(), b.name())
	})
	match(&prev, &curr, func(a, b official) bool { return a.id() == b.id() && a.id() != "" }, func(a, b official) {
		note(a, b, "%s is now %s instead of %s", b.name(), b.roleName(), a.roleName())
	})
	match(&prev, &curr, func(a, b official) bool { return a.role() == b.role() }, func(a, b official) {
		note(a, b, "%s replaced by %s as %s", a.name(), b.name(), b.roleName())
	})
	for _, o := range prev {
		note(o, official{}, "%s %s removed", o.roleName(), o.name())
	}
	for _, o := range curr {
		note(official{}, o, "%s %s added", o.roleName(), o.name())
	}
}

// match takes pairs that fit out of a and b, in the order of b, and hands them
// to found.
func match[T any](a, b *[]T, fit func(a, b T) bool, found func(a, b T)) {
	var left []T
	for _, y := range *b {
		i := slices.IndexFunc(*a, func(x T) bool { return fit(x, y) })
		if i < 0 {
			left = append(left, y)
			continue
		}
		x := (*a)[i]
		*a = slices.Delete(*a, i, i+1)
		found(x, y)
	}
	*b = left
}

// compareContacts notes one change when the contacts are not the same persons
// with the same data, in any order.
func (p *pair) compareContacts() {
	const field = "kontaktpersoner"
	prev, curr := schema.Items(p.prev[field]), schema.Items(p.curr[field])
	match(&prev, &curr, func(a, b []byte) bool { return same(a, b) }, func(_, _ []byte) {})
	if len(prev)+len(curr) > 0 {
		p.field(contact, field, "team contacts changed: "+p.title(p.curr))
	}
}
