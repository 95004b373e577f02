package fogistest

import (
	"fmt"
	"strings"
	"time"
)

var (
	firstNames = []string{"Åsa", "Örjan", "Märta", "Göran", "Lova", "Ture", "Sixten", "Ebba", "Hjalmar", "Tuva", "Alvar", "Signe"}
	lastNames  = []string{"Exempelsson", "Påhittig", "Sagberg", "Låtsasdotter", "Fabelgren", "Testén", "Diktström", "Mönsterås"}
	teams      = []string{"IF Exempel", "Påhitts BK", "Sagby GoIF", "FK Fabel & Dikt", "Mönster IK", "Låtsas AIS", "BK Attrapp", "Testköpings FF", "Skenå IF", "Drömmens SK"}
	grounds    = []string{"Exempelvallen", "Sagovallen 2 konstgräs", "Påhittets IP", "Fabelplan <norra>", "Mönsterhallen", "Attrappvallen"}
	leagues    = []string{"Division 3 Exempel", "Flickor F15 Påhitt", "Pojkar P16 Fabel", "Ligacupen Mönster Västra", "Damer Division 1 Saga"}
	streets    = []string{"Exempelgatan", "Påhittsvägen", "Sagogränd", "Fabelstigen"}
	towns      = []string{"Exempelstad", "Påhittby", "Sagovik", "Fabelköping"}
	roles      = []struct {
		id          int
		name, short string
	}{{1, "Huvuddomare", "Dom"}, {2, "Assisterande 1", "AD1"}, {3, "Assisterande 2", "AD2"}}
)

// add puts one more match at the end of the list.
func (f *Feed) add() object {
	n := f.next
	f.next++
	days := f.random.IntN(21)
	kickOff := time.Date(f.day.Year(), f.day.Month(), f.day.Day()+days, 10+f.random.IntN(10), 15*f.random.IntN(4), 0, 0, stockholm)
	home := f.random.IntN(len(teams))
	away := (home + 1 + f.random.IntN(len(teams)-1)) % len(teams)
	ground := f.random.IntN(len(grounds))
	league := f.random.IntN(len(leagues))
	referees := []object{}
	for i := range roles {
		referees = append(referees, f.referee(n*10+i, i))
	}
	m := object{
		{"__type", "Svensk.Fotboll.Exempel.MatchJSON"},
		{"matchid", 6186203 + n},
		{"matchnr", fmt.Sprintf("%09d", 402010+n)},
		{"speldatum", kickOff.Format("2006-01-02")},
		{"avsparkstid", kickOff.Format("15:04")},
		{"tid", dotNetDate(kickOff)},
		{"lag1lagid", 25000 + home}, {"lag1foreningid", 9500 + home}, {"lag1namn", teams[home]},
		{"lag2lagid", 25000 + away}, {"lag2foreningid", 9500 + away}, {"lag2namn", teams[away]},
		{"anlaggningid", 28000 + ground}, {"anlaggningnamn", grounds[ground]},
		{"anlaggningLatitud", 57.0 + float64(ground)/16}, {"anlaggningLongitud", 12.0 + float64(ground)/16},
		{"tavlingid", 124000 + league}, {"tavlingnr", fmt.Sprintf("000%03d", league)}, {"tavlingnamn", leagues[league]},
		{"installd", false}, {"uppskjuten", false}, {"avbruten", false},
		{"arslutresultat", false}, {"matchlag1mal", nil}, {"matchlag2mal", nil},
		{"domaruppdraglista", referees},
		{"kontaktpersoner", []object{f.contact(n, home), f.contact(n+1, away)}},
	}
	for i, name := range otherFields {
		m = append(m, member{name, otherValue(i, n)})
	}
	f.matches = append(f.matches, m)
	return m
}

func (f *Feed) referee(n, role int) object {
	name, mail := f.person()
	r := roles[role]
	f.referees++
	return object{
		{"domaruppdragid", 7100000 + n}, {"domareid", 6600 + f.referees}, {"domarnr", fmt.Sprintf("%05d", 60000+n%9999)},
		{"personid", 1082000 + n}, {"personnamn", name}, {"namn", name},
		{"domarrollid", r.id}, {"domarrollnamn", r.name}, {"domarrollkortnamn", r.short},
		{"domaruppdragstatusid", 1}, {"domaruppdragstatusnamn", "Tilldelat"},
		{"mobiltelefon", f.phone()}, {"telefon", ""}, {"epostadress", mail},
		{"adress", fmt.Sprintf("%s %d", pick(f, streets), 1+n%40)}, {"postnr", "123 45"}, {"postort", pick(f, towns)}, {"land", "Sverige"},
		{"tilldelatdatum", "2025-03-01"}, {"ersattningid", nil}, {"uppgiftsansvarig", false},
	}
}

func (f *Feed) contact(n, team int) object {
	name, mail := f.person()
	return object{
		{"lagid", 25000 + team}, {"lagnamn", teams[team]}, {"foreningId", 9500 + team}, {"personid", 1090000 + n}, {"personnamn", name},
		{"telefon", ""}, {"mobiltelefon", f.phone()}, {"epostadress", mail},
		{"adress", fmt.Sprintf("%s %d", pick(f, streets), 1+n%40)}, {"postnr", "123 45"}, {"postort", pick(f, towns)},
		{"reserv", false}, {"roll", "Lagledare"},
	}
}

func (f *Feed) person() (name, mail string) {
	first, last := pick(f, firstNames), pick(f, lastNames)
	ascii := strings.NewReplacer("å", "a", "ä", "a", "ö", "o", "é", "e").Replace(strings.ToLower(first + "." + last))
	return first + " " + last, ascii + "@example.com"
}

// phone is a number from the series reserved for fiction, 070-1740605 to 070-1740699.
func (f *Feed) phone() string { return fmt.Sprintf("070-17406%02d", 5+f.random.IntN(95)) }

// dotNetDate is the form in which FOGIS sends an instant.
func dotNetDate(t time.Time) string { return fmt.Sprintf("/Date(%d)/", t.UnixMilli()) }

// otherFields fill a match up to the size of a real one. Nobody interprets them.
var otherFields = strings.Fields(`matchtypid matchtypnamn matchstatusid matchstatusnamn tavlingskategoriid tavlingskategorinamn
	tavlingssasong tavlingalderskategori tavlingalderskategorinamn tavlingkonid tavlingkonnamn fotbollstypid fotbollstypnamn
	forbundid forbundnamn distriktid distriktnamn omgangid omgangnr gruppid gruppnamn matchforutsattningid
	antalspelare antalavbytare matchtid halvlekstid antalhalvlekar forlangning straffsparkslaggning rapportinskickad
	rapportgodkand rapportdatum laguppstallningslag1 laguppstallningslag2 publik publikvisas vader underlagid underlagnamn
	lag1omkladningsrum lag2omkladningsrum domaromkladningsrum tranare1 tranare2 overgangar wo woorsak protest
	senastuppdaterad uppdateradav anmarkning`)

func otherValue(i, n int) any {
	switch i % 5 {
	case 0:
		return 1000*i + n%1000
	case 1:
		return fmt.Sprintf("Uppgift %d för match %d", i, n)
	case 2:
		return nil
	case 3:
		return n%2 == 0
	}
	return fmt.Sprintf("2025-%02d-%02d", 1+i%12, 1+n%28)
}
