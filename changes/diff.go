package changes

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"
	_ "time/tzdata" // Europe/Stockholm, also where the machine has no zone files

	"github.com/PitchConnect/matchrelay/schema"
)

// stockholm is where matches are played: dates and times of FOGIS are local.
var stockholm = sync.OnceValue(func() *time.Location {
	location, _ := time.LoadLocation("Europe/Stockholm") // embedded
	return location
})

// Diff compares two match lists, each without duplicate ids, as ParseMatches
// returns them. A change of a match that is played on the day of now (or was to
// be played then) is critical; the day is that of Europe/Stockholm.
//
// Only what a change means counts: the order of matches, referees and contacts,
// the order of members, white space, null for absent, and whether a number is
// sent as a text make no difference.
func Diff(prev, curr []schema.Match, now time.Time) Summary {
	s, _ := differ{now: now, location: stockholm()}.diff(context.Background(), prev, curr) // which does not end
	return s
}

type differ struct {
	now      time.Time
	location *time.Location
}

// diff fails when ctx ends, also in the middle of a match: one may be as large as a list.
func (d differ) diff(ctx context.Context, prev, curr []schema.Match) (Summary, error) {
	gone := make(map[string]schema.Match, len(prev))
	for _, m := range prev {
		gone[m.ID()] = m
	}
	s := Summary{Matches: len(curr)}
	for _, m := range curr {
		if err := ctx.Err(); err != nil {
			return Summary{}, err
		}
		before, known := gone[m.ID()]
		delete(gone, m.ID())
		if !known {
			p := d.pair(m.ID(), nil, membersOf(m.Raw()))
			p.add(assignment, "matchid", nil, quoted(m.ID()), "new match: "+p.title)
			s.New = append(s.New, m.ID())
			s.Changes = append(s.Changes, p.changes...)
			continue
		}
		if string(before.Raw()) == string(m.Raw()) {
			continue
		}
		p := d.pair(m.ID(), membersOf(before.Raw()), membersOf(m.Raw()))
		if err := p.compare(ctx); err != nil {
			return Summary{}, err
		}
		switch {
		case p.cancelled:
			s.Cancelled = append(s.Cancelled, m.ID())
		case len(p.changes) > 0:
			s.Updated = append(s.Updated, m.ID())
		}
		s.Changes = append(s.Changes, p.changes...)
	}
	for _, id := range slices.Sorted(maps.Keys(gone)) {
		p := d.pair(id, membersOf(gone[id].Raw()), nil)
		p.add(removal, "matchid", quoted(id), nil, "match removed from the list: "+p.title)
		s.Removed = append(s.Removed, id)
		s.Changes = append(s.Changes, p.changes...)
	}
	return s, nil
}

// A pair is one match before and after. One of the two is nil when the match
// is new or gone.
type pair struct {
	id         string
	prev, curr members
	now        time.Time
	location   *time.Location
	today      bool   // the match is, or was to be, played today
	number     string // matchnr
	title      string // names the match for people

	changes   []schema.DetailedChange
	cancelled bool
}

func (d differ) pair(id string, prev, curr members) *pair {
	p := &pair{id: id, prev: prev, curr: curr, now: d.now, location: d.location}
	today := d.now.In(d.location).Format(time.DateOnly)
	p.today = p.day(prev) == today || p.day(curr) == today
	shown := curr
	if curr == nil {
		shown = prev
	}
	// Each change of the match repeats these: they are read once, and cut where a list has absurd ones.
	p.title = fmt.Sprintf("%.100s - %.100s, %.100s %.100s", shown.text("lag1namn"), shown.text("lag2namn"), shown.text("speldatum"), shown.text("avsparkstid"))
	p.number = fmt.Sprintf("%.100s", cmp.Or(curr.text("matchnr"), prev.text("matchnr")))
	return p
}

// day is the date of play, "" if unknown.
func (p *pair) day(m members) string {
	if day := m.text("speldatum"); len(day) >= len(time.DateOnly) {
		return day[:len(time.DateOnly)] // a time may follow
	}
	return p.instantDay(m)
}

var dotNetDate = regexp.MustCompile(`^/Date\((-?\d+)([+-]\d{4})?\)/$`)

// instant is the time that tid names, such as /Date(1746543600000)/: the
// milliseconds are UTC, an offset behind them changes nothing.
func instant(m members) (at time.Time, known bool) {
	parts := dotNetDate.FindStringSubmatch(m.text("tid"))
	if parts == nil {
		return time.Time{}, false
	}
	ms, err := strconv.ParseInt(parts[1], 10, 64)
	return time.UnixMilli(ms), err == nil
}

func sameInstant(a, b members) bool {
	was, known := instant(a)
	is, stillKnown := instant(b)
	return known && stillKnown && was.Equal(is)
}

// instantDay is the date of play by tid, "" if unknown.
func (p *pair) instantDay(m members) string {
	at, known := instant(m)
	if !known {
		return ""
	}
	return at.In(p.location).Format(time.DateOnly)
}

// add notes a change. A nil value is null.
func (p *pair) add(r rating, field string, previous, current []byte, description string) {
	priority := r.priority
	if p.today {
		priority = schema.Critical
	}
	p.changes = append(p.changes, schema.DetailedChange{
		MatchID: p.id, MatchNr: p.number, Category: r.category, Priority: priority, Stakeholders: r.stakeholders,
		Field: field, Previous: previous, Current: current, Description: description, Time: p.now,
	})
}

func quoted(s string) json.RawMessage { return json.RawMessage(strconv.Quote(s)) } // of an id: plain ASCII
