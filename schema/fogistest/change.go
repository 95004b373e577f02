package fogistest

import (
	"fmt"
	"time"
	_ "time/tzdata" // Europe/Stockholm, also where the machine has no zone files

	"github.com/PitchConnect/matchrelay/schema"
)

var stockholm = func() *time.Location {
	l, err := time.LoadLocation("Europe/Stockholm")
	if err != nil {
		panic(err)
	}
	return l
}()

// A Kind is a kind of change that Apply can make.
type Kind string

// The kinds of change.
const (
	NewReferee        Kind = "another referee"
	RefereePhone      Kind = "a referee's new phone number"
	ReorderedReferees Kind = "the referees in another order"
	NewKickOff        Kind = "another kick-off"
	NewDate           Kind = "another day"
	NewVenue          Kind = "another venue"
	Cancelled         Kind = "a cancelled match"
	Result            Kind = "a result"
	NewContact        Kind = "another team contact"
	NewMatch          Kind = "a new match"
	RemovedMatch      Kind = "a removed match"
)

// Kinds are all kinds of change, in the order in which Next makes them.
func Kinds() []Kind {
	return []Kind{NewReferee, NewKickOff, NewMatch, RefereePhone, NewVenue, NewContact, Cancelled, ReorderedReferees, NewDate, Result, RemovedMatch}
}

// A Change says what Apply did.
type Change struct {
	Kind        Kind
	MatchID     string
	Categories  []schema.Category // that a comparison has to find, in its order
	Description string            // for people; no personal data
}

// Next applies the i-th kind of change, counted round and round.
func (f *Feed) Next(i int) Change { return f.Apply(Kinds()[i%len(Kinds())]) }

// Apply makes one change of the given kind to a match chosen at random. It
// panics on an unknown kind, and on an empty list unless the kind is NewMatch.
func (f *Feed) Apply(kind Kind) Change {
	if kind == NewMatch {
		return describe(kind, f.add(), schema.NewAssignment)
	}
	i := f.random.IntN(len(f.matches))
	m := f.matches[i]
	referees := m.get("domaruppdraglista").([]object)
	switch kind {
	case NewReferee:
		i := f.random.IntN(len(referees))
		referees[i] = f.referee(f.random.IntN(1e5), referees[i].get("domarrollid").(int)-1)
		return describe(kind, m, schema.RefereeChange)
	case RefereePhone:
		f.changePhone(pick(f, referees))
		return describe(kind, m, schema.RefereeChange)
	case ReorderedReferees:
		m.set("domaruppdraglista", append(referees[1:len(referees):len(referees)], referees[0]))
		return describe(kind, m)
	case NewKickOff:
		f.move(m, func(t time.Time) time.Time {
			return time.Date(t.Year(), t.Month(), t.Day(), 10+(t.Hour()-9)%10, t.Minute(), 0, 0, stockholm)
		})
		return describe(kind, m, schema.TimeChange)
	case NewDate:
		f.move(m, func(t time.Time) time.Time { return t.AddDate(0, 0, 1) })
		return describe(kind, m, schema.DateChange)
	case NewVenue:
		id := m.get("anlaggningid").(int) + 100
		m.set("anlaggningid", id)
		m.set("anlaggningnamn", fmt.Sprintf("%s, plan %d", pick(f, grounds), id))
		return describe(kind, m, schema.VenueChange)
	case Cancelled:
		cancelled := !m.get("installd").(bool)
		m.set("installd", cancelled)
		if cancelled {
			return describe(kind, m, schema.Cancellation)
		}
		return describe("a match that is on again", m, schema.StatusChange)
	case Result:
		m.set("arslutresultat", true)
		m.set("matchlag1mal", f.random.IntN(6))
		goals, _ := m.get("matchlag2mal").(int)
		m.set("matchlag2mal", goals+1)
		return describe(kind, m, schema.StatusChange)
	case NewContact:
		f.changePhone(pick(f, m.get("kontaktpersoner").([]object)))
		return describe(kind, m, schema.ContactChange)
	case RemovedMatch:
		f.matches = append(f.matches[:i], f.matches[i+1:]...)
		return describe(kind, m, schema.MatchRemoved)
	}
	panic("fogistest: unknown kind of change " + string(kind))
}

func describe(kind Kind, m object, categories ...schema.Category) Change {
	return Change{
		Kind:        kind,
		MatchID:     fmt.Sprint(m.get("matchid")),
		Categories:  categories,
		Description: fmt.Sprintf("%s: %s - %s", kind, m.get("lag1namn"), m.get("lag2namn")),
	}
}

func (f *Feed) changePhone(person object) {
	for old := person.get("mobiltelefon"); person.get("mobiltelefon") == old; {
		person.set("mobiltelefon", f.phone())
	}
}

// move changes when a match is played; all fields that say so agree afterwards.
func (f *Feed) move(m object, to func(time.Time) time.Time) {
	when := m.get("speldatum").(string) + " " + m.get("avsparkstid").(string)
	old, err := time.ParseInLocation("2006-01-02 15:04", when, stockholm)
	if err != nil {
		panic(err)
	}
	setKickOff(m, to(old))
}

func setKickOff(m object, t time.Time) {
	m.set("speldatum", t.Format("2006-01-02"))
	m.set("avsparkstid", t.Format("15:04"))
	m.set("tid", dotNetDate(t))
}
