package changes

import (
	"context"
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

// post is who does what.
func (o official) post() [2]string { return [2]string{o.id(), o.role()} }

func (o official) name() string     { return o.text("personnamn") }
func (o official) roleName() string { return o.text("domarrollnamn") }

// compareReferees pairs the referees before and after: first those of whom
// nothing changed, then those who kept their role, then those who have another
// one, then those who took over a role. Whoever is left was removed or added.
// The order of the list means nothing, also when it names somebody twice.
func (p *pair) compareReferees(ctx context.Context) {
	const field = "domaruppdraglista"
	prev, curr := officialsOf(p.prev), officialsOf(p.curr)
	if len(prev) == 0 && len(curr) > 0 {
		p.field(assignment, field, "referees assigned: "+p.title)
		return
	}
	note := func(before, after official, format string, args ...any) {
		p.add(referee, field, before.raw, after.raw, fmt.Sprintf(format, args...)+": "+p.title)
	}
	same := func(a, b official) {
		if names := slices.Sorted(maps.Keys(differing(ctx, a.members, b.members))); len(names) > 0 {
			note(a, b, "%s of %s %s changed", strings.Join(names, ", "), b.roleName(), b.name())
		}
	}
	posts := map[[2]string]int{}
	for _, o := range slices.Concat(prev, curr) {
		posts[o.post()]++
	}
	// What else is known of them matters only for those who are listed twice in the same role.
	match(ctx, &prev, &curr, func(o official) (string, bool) {
		if posts[o.post()] <= 2 {
			return "", false
		}
		return content(o.raw), true
	}, same)
	match(ctx, &prev, &curr, func(o official) ([2]string, bool) { return o.post(), true }, same)
	match(ctx, &prev, &curr, func(o official) (string, bool) { return o.id(), o.id() != "" }, func(a, b official) {
		note(a, b, "%s is now %s instead of %s", b.name(), b.roleName(), a.roleName())
	})
	match(ctx, &prev, &curr, func(o official) (string, bool) { return o.role(), true }, func(a, b official) {
		note(a, b, "%s replaced by %s as %s", a.name(), b.name(), b.roleName())
	})
	for _, o := range prev {
		note(o, official{}, "%s %s removed", o.roleName(), o.name())
	}
	for _, o := range curr {
		note(official{}, o, "%s %s added", o.roleName(), o.name())
	}
}

// match takes pairs with the same key out of a and b, in the order of b, and
// hands them to found; where several of a have it, the first goes first. What
// has no key is not paired. It asks for each key once, and for no more of them
// once ctx has ended.
func match[T any, K comparable](ctx context.Context, a, b *[]T, key func(T) (k K, ok bool), found func(a, b T)) {
	waiting := map[K][]int{} // indexes in a
	for i, x := range *a {
		if ctx.Err() != nil {
			return
		}
		if k, ok := key(x); ok {
			waiting[k] = append(waiting[k], i)
		}
	}
	paired := make([]bool, len(*a))
	var left []T
	for _, y := range *b {
		if ctx.Err() != nil {
			return
		}
		k, ok := key(y)
		if !ok || len(waiting[k]) == 0 {
			left = append(left, y)
			continue
		}
		i := waiting[k][0]
		waiting[k] = waiting[k][1:]
		paired[i] = true
		found((*a)[i], y)
	}
	*b = left
	left = nil
	for i, x := range *a {
		if !paired[i] {
			left = append(left, x)
		}
	}
	*a = left
}

// compareContacts notes one change when the contacts are not the same persons
// with the same data, in any order.
func (p *pair) compareContacts(ctx context.Context) {
	const field = "kontaktpersoner"
	prev, curr := schema.Items(p.prev[field]), schema.Items(p.curr[field])
	changed := false
	match(ctx, &prev, &curr, func(raw []byte) (string, bool) { return content(raw), true }, func(a, b []byte) {
		changed = changed || !same(a, b)
	})
	if changed || len(prev)+len(curr) > 0 {
		p.field(contact, field, "team contacts changed: "+p.title)
	}
}
