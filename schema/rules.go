package schema

// A kind is a type of JSON value, a bit each so that a rule can allow several.
type kind uint8

const (
	null kind = 1 << iota
	boolean
	integer  // a number without fraction and exponent
	fraction // any other number
	text
	list
	object
)

func (k kind) String() string {
	switch k {
	case boolean:
		return "true or false"
	case integer:
		return "an integer"
	case fraction:
		return "a number with a fraction or an exponent"
	case text:
		return "a text"
	case list:
		return "a list"
	case object:
		return "an object"
	}
	return "null"
}

// A rule says which types a value may have. For a member null is as good as
// absent; an item of a list may not be null.
type rule struct {
	want     kind
	expected string
	items    *rule             // of a list
	most     int               // items of a list; 0 is any number
	fields   map[string]*field // of an object; others may have any type
}

// A field is a member that a rule knows by name, and that may be there once.
type field struct {
	rule *rule
	bit  uint64
	id   bool
}

var unknownField = &field{}

var (
	textRule = &rule{want: null | text, expected: "a text"}
	boolRule = &rule{want: null | boolean, expected: "true or false"}
	// FOGIS itself is not of one mind about these: subscribers print them or
	// compare them, and take either.
	numberRule = &rule{want: null | integer | fraction | text, expected: "a number or a text"}
	// An id names the same thing as number and as text.
	idRule = &rule{want: null | integer | text, expected: "an integer or a text"}
)

// The fields of a match that subscribers use, or that changes are judged by.
var (
	matchRule = objectRule(map[string]*rule{
		"matchid": idRule, "matchnr": idRule,
		"speldatum": textRule, "avsparkstid": textRule, "tid": textRule,
		"lag1namn": textRule, "lag1lagid": idRule, "lag1foreningid": idRule,
		"lag2namn": textRule, "lag2lagid": idRule, "lag2foreningid": idRule,
		"anlaggningnamn": textRule, "anlaggningid": idRule,
		"anlaggningLatitud": numberRule, "anlaggningLongitud": numberRule,
		"tavlingnamn": textRule, "tavlingid": idRule, "tavlingnr": idRule,
		"installd": boolRule, "uppskjuten": boolRule, "avbruten": boolRule,
		"arslutresultat": boolRule, "matchlag1mal": numberRule, "matchlag2mal": numberRule,
		"domaruppdraglista": listRule(refereeRule),
		"kontaktpersoner":   listRule(contactRule),
	})
	refereeRule = objectRule(map[string]*rule{
		"domaruppdragid": idRule, "domareid": idRule, "domarnr": idRule, "personid": idRule,
		"personnamn": textRule, "namn": textRule,
		"domarrollid": idRule, "domarrollnamn": textRule, "domarrollkortnamn": textRule,
		"domaruppdragstatusnamn": textRule,
		"mobiltelefon":           idRule, "telefon": idRule, "epostadress": textRule,
		"adress": textRule, "postnr": idRule, "postort": textRule, "land": textRule,
	})
	contactRule = objectRule(map[string]*rule{
		"lagid": idRule, "lagnamn": textRule, "personid": idRule, "personnamn": textRule,
		"telefon": idRule, "mobiltelefon": idRule, "epostadress": textRule,
		"adress": textRule, "postnr": idRule, "postort": textRule,
		"reserv": boolRule, "foreningId": idRule,
	})
)

func objectRule(rules map[string]*rule) *rule {
	fields := make(map[string]*field, len(rules))
	for name, r := range rules {
		fields[name] = &field{rule: r, bit: 1 << len(fields), id: name == "matchid"}
	}
	return &rule{want: object, expected: "an object", fields: fields}
}

func listRule(items *rule) *rule {
	return &rule{want: null | list, expected: "a list of objects", items: items, most: MaxPeople}
}
