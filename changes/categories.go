package changes

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/PitchConnect/matchrelay/schema"
)

// A rating says how much a category of change matters, and to whom.
type rating struct {
	category     schema.Category
	priority     schema.Priority
	stakeholders []schema.Stakeholder
}

var (
	officials = []schema.Stakeholder{schema.Referees, schema.Coordinators}
	everyone  = []schema.Stakeholder{schema.Everyone}

	assignment   = rating{schema.NewAssignment, schema.High, officials}
	referee      = rating{schema.RefereeChange, schema.High, officials}
	kickOff      = rating{schema.TimeChange, schema.High, everyone}
	date         = rating{schema.DateChange, schema.High, everyone}
	venue        = rating{schema.VenueChange, schema.Medium, everyone}
	team         = rating{schema.TeamChange, schema.Medium, []schema.Stakeholder{schema.Teams, schema.Coordinators}}
	cancellation = rating{schema.Cancellation, schema.Critical, everyone}
	postponement = rating{schema.Postponement, schema.Medium, everyone}
	interruption = rating{schema.Interruption, schema.Medium, everyone}
	status       = rating{schema.StatusChange, schema.Medium, everyone}
	competition  = rating{schema.CompetitionChange, schema.Low, everyone}
	removal      = rating{schema.MatchRemoved, schema.High, officials}
	contact      = rating{schema.ContactChange, schema.Low, []schema.Stakeholder{schema.Teams}}
	unknown      = rating{schema.UnknownChange, schema.Low, []schema.Stakeholder{schema.Coordinators}}
)

// flags are the booleans that are a change of their own when they turn true,
// and a status change when they turn false again.
var flags = []struct {
	field   string
	on      rating
	what    string
	whatNot string
}{
	{"installd", cancellation, "match cancelled", "match no longer cancelled"},
	{"uppskjuten", postponement, "match postponed", "match no longer postponed"},
	{"avbruten", interruption, "match interrupted", "match no longer interrupted"},
}

// groups are fields that say one thing together: when several of them change
// it is one change, told by the first.
var groups = []struct {
	rating
	what   string
	fields []string
}{
	{date, "date of play", []string{"speldatum"}},
	{kickOff, "kick-off", []string{"avsparkstid"}},
	{venue, "venue", []string{"anlaggningnamn", "anlaggningid"}},
	{team, "home team", []string{"lag1namn", "lag1lagid", "lag1foreningid"}},
	{team, "away team", []string{"lag2namn", "lag2lagid", "lag2foreningid"}},
	{status, "result", []string{"arslutresultat", "matchlag1mal", "matchlag2mal"}},
	{competition, "competition", []string{"tavlingnamn", "tavlingid", "tavlingnr"}},
}

// compare notes every change from prev to curr, in the order of the tables
// above; fields that nobody knows come last, by name. It fails when ctx ends.
func (p *pair) compare(ctx context.Context) error {
	changed := differing(ctx, p.prev, p.curr)
	moved := changed["speldatum"] || changed["avsparkstid"]
	for _, f := range flags {
		delete(changed, f.field)
		was, is := p.prev.text(f.field) == "true", p.curr.text(f.field) == "true"
		switch {
		case is && !was:
			p.field(f.on, f.field, f.what+": "+p.title)
			p.cancelled = p.cancelled || f.on.category == schema.Cancellation
		case was && !is:
			p.field(status, f.field, f.whatNot+": "+p.title)
		}
	}
	if p.prev.text("arslutresultat") != "true" && p.curr.text("arslutresultat") != "true" {
		delete(changed, "arslutresultat") // false is as good as absent
	}
	for _, g := range groups {
		first := ""
		for _, name := range slices.Backward(g.fields) {
			if changed[name] {
				first = name
				delete(changed, name)
			}
		}
		if first != "" {
			p.field(g.rating, first, p.describe(g.what, g.fields, first))
		}
	}
	if changed["tid"] && !moved && !sameInstant(p.prev, p.curr) { // when moved, it only follows date and kick-off
		r := kickOff
		if p.instantDay(p.prev) != p.instantDay(p.curr) {
			r = date
		}
		p.field(r, "tid", "kick-off corrected: "+p.title)
	}
	delete(changed, "tid")
	if changed["domaruppdraglista"] {
		p.compareReferees(ctx)
	}
	delete(changed, "domaruppdraglista")
	if changed["kontaktpersoner"] {
		p.compareContacts(ctx)
	}
	delete(changed, "kontaktpersoner")
	for _, name := range slices.Sorted(maps.Keys(changed)) {
		p.field(unknown, name, fmt.Sprintf("%q changed: %s", name, p.title))
	}
	return ctx.Err()
}

// field notes the change of one field with its values.
func (p *pair) field(r rating, name, description string) {
	p.add(r, name, p.prev[name], p.curr[name], description)
}

func (p *pair) describe(what string, fields []string, first string) string {
	was, is := p.prev.text(first), p.curr.text(first)
	if what == "result" {
		was = p.prev.text(fields[1]) + "-" + p.prev.text(fields[2])
		is = p.curr.text(fields[1]) + "-" + p.curr.text(fields[2])
	}
	return fmt.Sprintf("%s changed from %s to %s: %s", what, orNone(was), orNone(is), p.title)
}

func orNone(s string) string {
	if s == "" || s == "-" {
		return "none"
	}
	return s
}
