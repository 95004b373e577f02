package changes

import (
	"slices"
	"sync"
)

// impersonal are the fields whose values say nothing of a person: those of the
// tables of categories, and what identifies a match.
var impersonal = sync.OnceValue(func() []string {
	fields := []string{"matchid", "matchnr", "tid"}
	for _, f := range flags {
		fields = append(fields, f.field)
	}
	for _, g := range groups {
		fields = append(fields, g.fields...)
	}
	return fields
})

// Personal says whether the values of a top-level field of a match may be
// personal data: referees and contacts are, and any field that is not known
// may be.
func Personal(field string) bool { return !slices.Contains(impersonal(), field) }
