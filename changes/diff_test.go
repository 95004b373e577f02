package changes_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/schema"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

func parse(t require.TestingT, list string) []schema.Match {
	matches, err := schema.ParseMatches([]byte(list))
	require.NoError(t, err)
	return matches
}

func instant(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

// long is a moment on no day of a match.
var long = instant("2020-01-01T12:00:00Z")

const (
	base = `"matchid":1,"matchnr":"0402","speldatum":"2025-05-06","avsparkstid":"17:00","tid":"/Date(1746543600000)/","lag1namn":"A","lag2namn":"B"`
	anna = `{"domareid":1,"domarrollid":1,"domarrollnamn":"Huvuddomare","personnamn":"Anna","mobiltelefon":"070-1740605"}`
	bo   = `{"domareid":2,"domarrollid":2,"domarrollnamn":"Assisterande 1","personnamn":"Bo","mobiltelefon":"070-1740606"}`
	cia  = `{"domareid":3,"domarrollid":2,"domarrollnamn":"Assisterande 1","personnamn":"Cia","mobiltelefon":"070-1740607"}`
)

func referees(list ...string) string {
	return base + `,"domaruppdraglista":[` + strings.Join(list, ",") + `]`
}

// Each row is one match before and after, and the changes that this means:
// category, priority, stakeholders, field, description without the match's name.
func TestEachChangeOfAMatchHasItsCategory(t *testing.T) {
	swap := func(old, new string) string { return strings.Replace(base, old, new, 1) }
	for name, c := range map[string]struct {
		prev, curr string
		want       []string
	}{
		"kick-off, which tid follows":     {base, strings.NewReplacer("17:00", "18:00", "1746543600000", "1746547200000").Replace(base), []string{"time_change high all avsparkstid: kick-off changed from 17:00 to 18:00"}},
		"date, which tid follows":         {base, strings.NewReplacer("05-06", "05-07", "1746543600000", "1746630000000").Replace(base), []string{"date_change high all speldatum: date of play changed from 2025-05-06 to 2025-05-07"}},
		"date and kick-off":               {base, strings.NewReplacer("05-06", "05-07", "17:00", "18:00").Replace(base), []string{"date_change high all speldatum: date of play changed from 2025-05-06 to 2025-05-07", "time_change high all avsparkstid: kick-off changed from 17:00 to 18:00"}},
		"tid alone, on the same day":      {base, swap("1746543600000", "1746547200000"), []string{"time_change high all tid: kick-off corrected"}},
		"tid alone, to another day":       {base, swap("1746543600000", "1746630000000"), []string{"date_change high all tid: kick-off corrected"}},
		"tid alone, to something unknown": {base, swap("/Date(1746543600000)/", "/Date(99999999999999999999)/"), []string{"date_change high all tid: kick-off corrected"}},
		"venue, name and id together":     {base + `,"anlaggningnamn":"X","anlaggningid":1`, base + `,"anlaggningnamn":"Y","anlaggningid":2`, []string{"venue_change medium all anlaggningnamn: venue changed from X to Y"}},
		"a venue where there was none":    {base, base + `,"anlaggningid":2`, []string{"venue_change medium all anlaggningid: venue changed from none to 2"}},
		"both teams":                      {base, strings.NewReplacer(`"A"`, `"C"`, `"B"`, `"D"`).Replace(base), []string{"team_change medium teams,coordinators lag1namn: home team changed from A to C", "team_change medium teams,coordinators lag2namn: away team changed from B to D"}},
		"a team's id":                     {base + `,"lag1lagid":1`, base + `,"lag1lagid":2`, []string{"team_change medium teams,coordinators lag1lagid: home team changed from 1 to 2"}},
		"cancelled":                       {base + `,"installd":false`, base + `,"installd":true`, []string{"cancellation critical all installd: match cancelled"}},
		"no longer cancelled":             {base + `,"installd":true`, base, []string{"status_change medium all installd: match no longer cancelled"}},
		"postponed":                       {base, base + `,"uppskjuten":true`, []string{"postponement medium all uppskjuten: match postponed"}},
		"no longer postponed":             {base + `,"uppskjuten":true`, base + `,"uppskjuten":false`, []string{"status_change medium all uppskjuten: match no longer postponed"}},
		"interrupted":                     {base, base + `,"avbruten":true`, []string{"interruption medium all avbruten: match interrupted"}},
		"no longer interrupted":           {base + `,"avbruten":true`, base + `,"avbruten":null`, []string{"status_change medium all avbruten: match no longer interrupted"}},
		"a result":                        {base + `,"arslutresultat":false`, base + `,"arslutresultat":true,"matchlag1mal":5,"matchlag2mal":2`, []string{"status_change medium all arslutresultat: result changed from none to 5-2"}},
		"another result":                  {base + `,"arslutresultat":true,"matchlag1mal":5,"matchlag2mal":2`, base + `,"arslutresultat":true,"matchlag1mal":5,"matchlag2mal":3`, []string{"status_change medium all matchlag2mal: result changed from 5-2 to 5-3"}},
		"competition":                     {base + `,"tavlingnamn":"X"`, base + `,"tavlingnamn":"Y"`, []string{"competition_change low all tavlingnamn: competition changed from X to Y"}},
		"contacts":                        {base + `,"kontaktpersoner":[{"personid":1,"telefon":"1"}]`, base + `,"kontaktpersoner":[{"personid":1,"telefon":"2"}]`, []string{"contact_change low teams kontaktpersoner: team contacts changed"}},
		"contacts gone":                   {base + `,"kontaktpersoner":[{"personid":1}]`, base, []string{"contact_change low teams kontaktpersoner: team contacts changed"}},
		"any other field":                 {base + `,"x":{"a":[1,2]},"b":1`, base + `,"x":{"a":[1,3]},"c":true`, []string{`unknown low coordinators b: "b" changed`, `unknown low coordinators c: "c" changed`, `unknown low coordinators x: "x" changed`}},
		"referees where there were none":  {base, referees(anna, bo), []string{"new_assignment high referees,coordinators domaruppdraglista: referees assigned"}},
		"a replaced referee":              {referees(anna, bo), referees(anna, cia), []string{"referee_change high referees,coordinators domaruppdraglista: Bo replaced by Cia as Assisterande 1"}},
		"a removed referee":               {referees(anna, bo), referees(anna), []string{"referee_change high referees,coordinators domaruppdraglista: Assisterande 1 Bo removed"}},
		"all referees removed":            {referees(anna, bo), base, []string{"referee_change high referees,coordinators domaruppdraglista: Huvuddomare Anna removed", "referee_change high referees,coordinators domaruppdraglista: Assisterande 1 Bo removed"}},
		"an added referee":                {referees(anna), referees(bo, anna), []string{"referee_change high referees,coordinators domaruppdraglista: Assisterande 1 Bo added"}},
		"a referee's new phone":           {referees(anna, bo), referees(bo, strings.Replace(anna, "0605", "0699", 1)), []string{"referee_change high referees,coordinators domaruppdraglista: mobiltelefon of Huvuddomare Anna changed"}},
		"referees who swap roles":         {referees(anna, bo), referees(strings.Replace(strings.Replace(anna, `rollid":1`, `rollid":2`, 1), "Huvuddomare", "Assisterande 1", 1), strings.Replace(strings.Replace(bo, `rollid":2`, `rollid":1`, 1), "Assisterande 1", "Huvuddomare", 1)), []string{"referee_change high referees,coordinators domaruppdraglista: Anna is now Assisterande 1 instead of Huvuddomare", "referee_change high referees,coordinators domaruppdraglista: Bo is now Huvuddomare instead of Assisterande 1"}},
		"a role that only has a name":     {referees(`{"domareid":1,"domarrollnamn":"Dom","personnamn":"Anna"}`), referees(`{"domareid":2,"domarrollnamn":"Dom","personnamn":"Bo"}`), []string{"referee_change high referees,coordinators domaruppdraglista: Anna replaced by Bo as Dom"}},
		"an id beyond 2^53":               {base + `,"x":9007199254740993`, base + `,"x":9007199254740992`, []string{`unknown low coordinators x: "x" changed`}},
		"a text that is no number":        {base + `,"antal":5`, base + `,"antal":"fem"`, []string{`unknown low coordinators antal: "antal" changed`}},
		"one of two equal assignments":    {referees(bo, bo), referees(bo), []string{"referee_change high referees,coordinators domaruppdraglista: Assisterande 1 Bo removed"}},
		"a list that gets longer":         {base + `,"x":[1]`, base + `,"x":[1,2]`, []string{`unknown low coordinators x: "x" changed`}},
	} {
		t.Run(name, func(t *testing.T) {
			s := changes.Diff(parse(t, "[{"+c.prev+"}]"), parse(t, "[{"+c.curr+"}]"), long)
			got := []string{}
			for _, change := range s.Changes {
				got = append(got, line(change))
				require.Equal(t, "1", change.MatchID)
				require.Equal(t, "0402", change.MatchNr)
				require.Equal(t, long, change.Time)
			}
			require.Equal(t, c.want, got)
			if name == "cancelled" {
				require.Equal(t, []string{"1"}, s.Cancelled)
				require.Empty(t, s.Updated)
			} else {
				require.Equal(t, []string{"1"}, s.Updated)
				require.Empty(t, s.Cancelled)
			}
		})
	}
}

func line(c schema.DetailedChange) string {
	who := []string{}
	for _, s := range c.Stakeholders {
		who = append(who, string(s))
	}
	what, _, _ := strings.Cut(c.Description, ": ")
	return fmt.Sprintf("%s %s %s %s: %s", c.Category, c.Priority, strings.Join(who, ","), c.Field, what)
}

func TestWhatMeansTheSameIsNoChange(t *testing.T) {
	for name, c := range map[string]struct{ prev, curr string }{
		"white space and member order":  {base + `,"x":{"a":1,"b":2}`, ` "x" : {"b":2, "a":1} , ` + base},
		"ids as number and as text":     {base + `,"lag1lagid":5,"x":{"personId":"7"}`, strings.Replace(base, `"matchid":1`, `"matchid":"1"`, 1) + `,"lag1lagid":"5","x":{"personId":7}`},
		"null and absent":               {base + `,"x":null,"installd":null`, base},
		"false and absent, for flags":   {base + `,"installd":false,"uppskjuten":false,"avbruten":false,"arslutresultat":false`, base},
		"escapes":                       {base + `,"x":"\u00e5\/"`, base + `,"x":"å/"`},
		"1 and 1.0":                     {base + `,"x":1`, base + `,"x":1.0`},
		"reordered referees":            {referees(anna, bo), referees(bo, anna)},
		"numbers as text":               {base + `,"matchlag1mal":5,"anlaggningLatitud":57.7`, base + `,"matchlag1mal":"5","anlaggningLatitud":"57.7"`},
		"a referee listed twice":        {referees(anna, strings.Replace(anna, "0605", "0699", 1)), referees(strings.Replace(anna, "0605", "0699", 1), anna)},
		"tid with an offset":            {base, strings.Replace(base, ")/", "+0200)/", 1)},
		"a referee's ids as text":       {referees(anna), referees(strings.Replace(anna, `"domareid":1`, `"domareid":"1"`, 1))},
		"no referees and an empty list": {base, referees()},
		"reordered contacts":            {base + `,"kontaktpersoner":[{"personid":1},{"personid":2}]`, base + `,"kontaktpersoner":[{"personid":2},{"personid":"1"}]`},
		"a member that is there twice":  {base + `,"x":1,"x":2`, base + `,"x":2`},
	} {
		t.Run(name, func(t *testing.T) {
			prev, curr := parse(t, "[{"+c.prev+"}]"), parse(t, "[{"+c.curr+"}]")
			require.Empty(t, changes.Diff(prev, curr, long).Changes)
			s := changes.Diff(curr, prev, long)
			require.False(t, s.Changed())
			require.Empty(t, s.Updated)
		})
	}
}

func TestMatchesThatComeAndGo(t *testing.T) {
	prev := parse(t, `[{"matchid":"30"},{"matchid":4,"matchnr":7,"lag1namn":"A","lag2namn":"B"},{"matchid":5}]`)
	curr := parse(t, `[{"matchid":"x","lag1namn":"C"},{"matchid":"5"},{"matchid":1,"installd":true}]`)
	s := changes.Diff(prev, curr, long)
	require.Equal(t, 3, s.Matches)
	require.Equal(t, []string{"x", "1"}, s.New)
	require.Equal(t, []string{"30", "4"}, s.Removed)
	require.Empty(t, s.Updated)
	require.True(t, s.HighPriority())
	lines := []string{}
	for _, c := range s.Changes {
		lines = append(lines, c.MatchID+" "+line(c))
	}
	require.Equal(t, []string{
		"x new_assignment high referees,coordinators matchid: new match",
		"1 new_assignment high referees,coordinators matchid: new match",
		"30 match_removed high referees,coordinators matchid: match removed from the list",
		"4 match_removed high referees,coordinators matchid: match removed from the list",
	}, lines)
	require.Equal(t, "7", s.Changes[3].MatchNr)
	require.Equal(t, `"4"`, string(s.Changes[3].Previous))
	require.Nil(t, s.Changes[3].Current)

	data, err := json.Marshal(s)
	require.NoError(t, err)
	require.JSONEq(t, `{"matches":3,"new":2,"updated":0,"cancelled":0,"removed":2,"changes":4,"change_types":{"new_assignment":2,"match_removed":2},"high_priority":true,"sequences":[]}`, string(data))
}

func TestAChangeOnTheDayOfTheMatchIsCritical(t *testing.T) {
	for name, c := range map[string]struct {
		now      string
		curr     string
		critical bool
	}{
		"the day before in Stockholm":                           {"2025-05-05T21:59:59Z", base + `,"x":1`, false},
		"the day in Stockholm that is still yesterday in UTC":   {"2025-05-05T22:00:00Z", base + `,"x":1`, true},
		"the last second of the day":                            {"2025-05-06T21:59:59Z", base + `,"x":1`, true},
		"the day after in Stockholm that is still today in UTC": {"2025-05-06T22:00:00Z", base + `,"x":1`, false},
		"the match moves to today":                              {"2025-05-09T12:00:00Z", strings.Replace(base, "05-06", "05-09", 1), true},
		"the match moves away from today":                       {"2025-05-06T12:00:00Z", strings.Replace(base, "05-06", "05-09", 1), true},
		"the date says more than the day":                       {"2025-05-06T12:00:00Z", strings.Replace(base, "05-06", "05-06T00:00:00", 1), true},
	} {
		t.Run(name, func(t *testing.T) {
			s := changes.Diff(parse(t, "[{"+base+"}]"), parse(t, "[{"+c.curr+"}]"), instant(c.now))
			require.NotEmpty(t, s.Changes)
			for _, change := range s.Changes {
				require.Equal(t, c.critical, change.Priority == schema.Critical)
			}
		})
	}
	t.Run("by tid where there is no date, with an offset", func(t *testing.T) {
		s := changes.Diff(nil, parse(t, `[{"matchid":1,"tid":"/Date(1746543600000+0200)/"}]`), instant("2025-05-06T05:00:00Z"))
		require.Equal(t, schema.Critical, s.Changes[0].Priority)
	})
}

func TestTheGeneratedChangesAreFoundAsAnnounced(t *testing.T) {
	for seed := range uint64(5) {
		feed := fogistest.New(seed, 3, instant("2025-05-06T00:00:00Z"))
		before := parse(t, string(feed.JSON()))
		for i := range 3 * len(fogistest.Kinds()) {
			announced := feed.Next(i)
			after := parse(t, string(feed.JSON()))
			s := changes.Diff(before, after, long)
			var found []schema.Category
			for _, c := range s.Changes {
				require.Equal(t, announced.MatchID, c.MatchID)
				found = append(found, c.Category)
			}
			require.Equal(t, announced.Categories, found, announced.Description)
			before = after
		}
	}
}

func TestAListIsTheSameAsItselfHoweverItIsWritten(t *testing.T) {
	list := fogistest.List(5, 10, long)
	var generic any
	require.NoError(t, json.Unmarshal(list, &generic))
	rewritten, err := json.MarshalIndent(generic, "", "  ") // other order, other spacing, other escapes
	require.NoError(t, err)
	require.False(t, bytes.Equal(list, rewritten))
	require.Empty(t, changes.Diff(parse(t, string(list)), parse(t, string(rewritten)), long).Changes)
}
