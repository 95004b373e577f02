package schema

// An Outline is what one needs to recognise a match. It holds no personal data.
type Outline struct {
	ID          string `json:"match_id"`
	Number      string `json:"match_nr"`
	Date        string `json:"date"` // local, as FOGIS writes it: 2025-05-06
	Time        string `json:"time"` // of kick-off, local: 17:00
	Home        string `json:"home"`
	Away        string `json:"away"`
	Venue       string `json:"venue"`
	Competition string `json:"competition"`
	Referees    int    `json:"referees"` // how many are assigned
	Cancelled   bool   `json:"cancelled"`
	Postponed   bool   `json:"postponed"`
	Interrupted bool   `json:"interrupted"`
}

// Outline reads the match. What is not there is "", 0 or false.
func (m Match) Outline() Outline {
	o := Outline{ID: m.ID()}
	texts := map[string]*string{"matchnr": &o.Number, "speldatum": &o.Date, "avsparkstid": &o.Time, "lag1namn": &o.Home,
		"lag2namn": &o.Away, "anlaggningnamn": &o.Venue, "tavlingnamn": &o.Competition}
	flags := map[string]*bool{"installd": &o.Cancelled, "uppskjuten": &o.Postponed, "avbruten": &o.Interrupted}
	for name, value := range m.Members() {
		if into := texts[name]; into != nil {
			*into = TextOf(value)
		} else if into := flags[name]; into != nil {
			*into = TextOf(value) == "true"
		} else if name == "domaruppdraglista" {
			o.Referees = len(Items(value))
		}
	}
	return o
}
