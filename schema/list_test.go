package schema_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/schema"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

func TestAMatchListIsTakenInEachOfItsForms(t *testing.T) {
	for name, list := range map[string]string{
		"a bare list":                        `[{"matchid": 1}, {"matchid": "2"}]`,
		"an object with matches":             `{"matches": [{"matchid": 1}, {"matchid": "2"}]}`,
		"an object with matchlista":          `{"matchlista": [{"matchid": 1}, {"matchid": "2"}], "antal": 2}`,
		"other members first":                `{"antal": {"x": [2]}, "matchlista": [{"matchid": 1}, {"matchid": "2"}]}`,
		"a member name with escapes":         `{"m\u0061tches": [{"match\u0069d": 1}, {"matchid": "\u0032"}]}`,
		"a byte order mark and white space":  "\ufeff \r\n\t[{\"matchid\": 1},{\"matchid\": \"2\"}] \n",
		"null where a field could be absent": `[{"matchid": 1, "installd": null, "domaruppdraglista": null, "lag1namn": null}, {"matchid": "2"}]`,
	} {
		t.Run(name, func(t *testing.T) {
			matches, err := schema.DecodeMatches(strings.NewReader(list))
			require.NoError(t, err)
			require.Len(t, matches, 2)
			require.Equal(t, "1", matches[0].ID())
			require.Equal(t, "2", matches[1].ID())
		})
	}
}

func TestAnEmptyListHasNoMatches(t *testing.T) {
	matches, err := schema.ParseMatches([]byte(`[]`))
	require.NoError(t, err)
	require.NotNil(t, matches)
	require.Empty(t, matches)
}

func TestAMatchKeepsItsBytes(t *testing.T) {
	raws := []string{
		`{ "matchid" :  9007199254740993,"x":1.0 , "html":"<b>&amp;</b>" }`,
		"{\"matchid\":\"b\",\n\t\"namn\":\"Åäö\u2028\\u00e5\\/\"}",
	}
	matches, err := schema.ParseMatches([]byte("[ " + strings.Join(raws, " , ") + "\n]"))
	require.NoError(t, err)
	for i, m := range matches {
		require.Equal(t, raws[i], string(m.Raw()))
	}
	require.Equal(t, "9007199254740993", matches[0].ID())
	require.Equal(t, "1.0", matches[0].Text("x"))
	require.Equal(t, "Åäö\u2028å/", matches[1].Text("namn"))
	require.Equal(t, "", matches[1].Text("absent"))
}

func TestNumbersAndTextsNameTheSameMatchAndLeadingZerosAnother(t *testing.T) {
	_, err := schema.ParseMatches([]byte(`[{"matchid": 6186203}, {"matchid": "6186203"}]`))
	require.EqualError(t, err, `invalid match list: matches[1] (matchid 6186203): field matchid: matches[0] has the same id`)
	_, err = schema.ParseMatches([]byte(`[{"matchid": 6186203}, {"matchid": "06186203"}]`))
	require.NoError(t, err)
}

func TestAWrongMatchIsNamedWithItsField(t *testing.T) {
	for name, c := range map[string]struct{ match, want string }{
		"no id":                          {`{"lag1namn": "A"}`, `matches[1]: field matchid: expected an integer or a text, it is missing or empty`},
		"a null id":                      {`{"matchid": null}`, `matches[1]: field matchid: expected an integer or a text, it is missing or empty`},
		"an empty id":                    {`{"matchid": ""}`, `matches[1]: field matchid: expected an integer or a text, it is missing or empty`},
		"a fractional id":                {`{"matchid": 1.5}`, `matches[1] (matchid 1.5): field matchid: expected an integer or a text, got a number with a fraction or an exponent`},
		"a boolean id":                   {`{"matchid": true}`, `matches[1] (matchid true): field matchid: expected an integer or a text, got true or false`},
		"an object as id":                {`{"matchid": {}}`, `matches[1]: field matchid: expected an integer or a text, got an object`},
		"a negative id":                  {`{"matchid": -5}`, `matches[1]: field matchid: expected an integer of 0 or more`},
		"an overlong id":                 {`{"matchid": "` + strings.Repeat("1", 65) + `"}`, `matches[1]: field matchid: expected at most 64 characters`},
		"an id that forges lines":        {`{"matchid": "1\nERROR"}`, `matches[1]: field matchid: expected an integer, or a text of ASCII letters, digits and . _ : -`},
		"two ids":                        {`{"matchid": 1, "matchid": 2}`, `matches[1] (matchid 2): field matchid: the field is there twice`},
		"null":                           {`null`, `matches[1]: expected an object, got null`},
		"a list":                         {`[]`, `matches[1]: expected an object, got a list`},
		"a wrong type after the id":      {`{"matchid": 7, "installd": "nej"}`, `matches[1] (matchid 7): field installd: expected true or false, got a text`},
		"a wrong type before the id":     {`{"avsparkstid": 17, "matchid": 7}`, `matches[1] (matchid 7): field avsparkstid: expected a text, got an integer`},
		"a wrong type of a venue id":     {`{"matchid": 7, "anlaggningid": 1.5}`, `matches[1] (matchid 7): field anlaggningid: expected an integer or a text, got a number with a fraction or an exponent`},
		"a wrong type of a position":     {`{"matchid": 7, "anlaggningLatitud": []}`, `matches[1] (matchid 7): field anlaggningLatitud: expected a number or a text, got a list`},
		"referees that are no list":      {`{"matchid": 7, "domaruppdraglista": {}}`, `matches[1] (matchid 7): field domaruppdraglista: expected a list of objects, got an object`},
		"a referee that is no object":    {`{"matchid": 7, "domaruppdraglista": [{}, null]}`, `matches[1] (matchid 7): field domaruppdraglista[1]: expected an object, got null`},
		"a wrong type within a referee":  {`{"matchid": 7, "domaruppdraglista": [{}, {"personnamn": 5}]}`, `matches[1] (matchid 7): field domaruppdraglista[1].personnamn: expected a text, got an integer`},
		"a wrong type within a contact":  {`{"matchid": 7, "kontaktpersoner": [{"reserv": 0}]}`, `matches[1] (matchid 7): field kontaktpersoner[0].reserv: expected true or false, got an integer`},
		"NaN":                            {`{"x": NaN, "matchid": 7}`, `matches[1] (matchid 7): field x: NaN is not JSON, expected a number or null`},
		"Infinity, deep inside":          {`{"matchid": 7, "x": {"y": [-Infinity]}}`, `matches[1] (matchid 7): field x: -Infinity is not JSON, expected a number or null`},
		"a number that is too long":      {`{"matchid": 7, "x": [` + strings.Repeat("9", 1001) + `]}`, `matches[1] (matchid 7): field x: expected a number of at most 1000 characters, got 1001`},
		"a number that is too large":     {`{"matchid": 7, "x": {"y": 1e+1000}}`, `matches[1] (matchid 7): field x: expected a number whose exponent has at most 3 digits, it has 4`},
		"broken JSON in a known field":   {`{"matchid": 7, "lag1namn": "A` + "\n", `matches[1] (matchid 7): field lag1namn: unescaped control character in a text at byte 46`},
		"broken JSON in a strange field": {`{"matchid": 7, "å\n` + strings.Repeat("x", 50) + `": tru}`, `matches[1] (matchid 7): field "\u00e5\n` + strings.Repeat("x", 37) + `": expected a JSON value at byte 90`},
		"nesting beyond the limit":       {`{"matchid": 7, "x": ` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`, `matches[1] (matchid 7): field x: lists and objects are nested deeper than 64 levels at byte 99`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := schema.ParseMatches([]byte(`[{"matchid": 0}, ` + c.match + `]`))
			require.EqualError(t, err, "invalid match list: "+c.want)
			require.ErrorIs(t, err, schema.ErrMatchList)
			var match *schema.MatchError
			require.ErrorAs(t, err, &match)
			require.Equal(t, 1, match.Index)
		})
	}
}

func TestWhatIsNoMatchListIsRefused(t *testing.T) {
	const shape = `expected a list of matches, {"matches": [...]} or {"matchlista": [...]}`
	for name, c := range map[string]struct{ list, want string }{
		"nothing":                     {``, `no JSON value found at byte 0`},
		"only white space":            {" \n", `no JSON value found at byte 2`},
		"null":                        {`null`, shape},
		"a text":                      {`"x"`, shape},
		"an object without a list":    {`{"error": "try later"}`, shape},
		"an object with null":         {`{"matches": null}`, shape},
		"another case":                {`{"Matches": []}`, shape},
		"two lists":                   {`{"matches": [], "matchlista": []}`, `it holds more than one list of matches`},
		"data after the list":         {`[] []`, `unexpected data after the JSON value at byte 3`},
		"a list that ends early":      {`[{"matchid": 1}`, `expected ',' or ']' after an item at byte 15`},
		"an object that ends early":   {`{"matches": []`, `expected ',' or '}' after a member at byte 14`},
		"broken JSON beside the list": {`{"x": }`, `expected a JSON value at byte 6`},
		"NaN beside the list":         {`{"x": NaN, "matches": [{"matchid": 1}]}`, `beside the list of matches: NaN is not JSON, expected a number or null`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := schema.ParseMatches([]byte(c.list))
			require.EqualError(t, err, "invalid match list: "+c.want)
			require.ErrorIs(t, err, schema.ErrMatchList)
		})
	}
}

func TestListsBeyondTheLimitsAreRefused(t *testing.T) {
	_, err := schema.DecodeMatches(bytes.NewReader(make([]byte, schema.MaxListBytes+1)))
	require.ErrorIs(t, err, schema.ErrTooLarge)

	var b strings.Builder
	for i := range schema.MaxMatches + 1 {
		fmt.Fprintf(&b, `,{"matchid":%d}`, i)
	}
	_, err = schema.ParseMatches([]byte("[" + b.String()[1:] + "]"))
	require.EqualError(t, err, "match list too large: more than 50000 matches")
}

func TestParseMatches_LimitsThePeopleOfAMatch(t *testing.T) {
	list := func(field string, people int) []byte {
		return []byte(`[{"matchid":0},{"` + field + `":[` + strings.TrimSuffix(strings.Repeat("{},", people), ",") + `],"matchid":7}]`)
	}
	for _, field := range []string{"domaruppdraglista", "kontaktpersoner"} {
		matches, err := schema.ParseMatches(list(field, schema.MaxPeople))
		require.NoError(t, err)
		message, err := schema.NewMatchUpdate(schema.MatchUpdate{Matches: matches})
		require.NoError(t, err)
		require.NoError(t, message.Validate())

		_, err = schema.ParseMatches(list(field, schema.MaxPeople+1))
		require.ErrorContains(t, err, "expected at most 200 items, got 201")
		_, err = schema.ParseMatches(list(field, 20_000))
		require.EqualError(t, err, `invalid match list: matches[1] (matchid 7): field `+field+`: expected at most 200 items, got 20000`)

		tooMany := strings.TrimSuffix(string(list(field, schema.MaxPeople+1)), "]")
		message, err = schema.Decode(bytes.Replace(message.Bytes(), []byte(`"matches":[`), []byte(`"matches":`+tooMany+`,`), 1))
		require.NoError(t, err)
		require.EqualError(t, message.Validate(), `invalid message: payload.matches.1.`+field+`: expected at most 200 items, got 201`)
	}
}

func TestParseMatches_LimitsTheFieldsOfAMatchAndItsPeople(t *testing.T) {
	fields := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"x%d":1`, i)
		}
		return b.String()[1:]
	}
	for place, list := range map[string]string{"": `[{"matchid":7,%s}]`, ".domaruppdraglista.0": `[{"domaruppdraglista":[{"domareid":1,%s}],"matchid":7}]`} {
		matches, err := schema.ParseMatches(fmt.Appendf(nil, list, fields(schema.MaxFields-1)))
		require.NoError(t, err)
		message, err := schema.NewMatchUpdate(schema.MatchUpdate{Matches: matches})
		require.NoError(t, err)
		require.NoError(t, message.Validate())

		tooMany := fmt.Appendf(nil, list, fields(schema.MaxFields))
		_, err = schema.ParseMatches(tooMany)
		require.ErrorContains(t, err, "invalid match list: matches[0] (matchid 7): ")
		require.ErrorContains(t, err, "expected at most 1000 fields, got 1001")
		message, err = schema.Decode(bytes.Replace(message.Bytes(), matches[0].Raw(), tooMany[1:len(tooMany)-1], 1))
		require.NoError(t, err)
		require.EqualError(t, message.Validate(), "invalid message: payload.matches.0"+place+": expected at most 1000 fields, got 1001")
	}
}

func TestAReaderThatFailsIsReported(t *testing.T) {
	broken := errors.New("connection reset")
	_, err := schema.DecodeMatches(iotest.ErrReader(broken))
	require.ErrorIs(t, err, broken)
}

func FuzzParseMatches(f *testing.F) {
	f.Add([]byte(`[{"matchid": 1, "installd": true, "domaruppdraglista": [{"domareid": "5"}]}, {"matchid": "x-1"}]`))
	f.Add([]byte(`{"matchlista": [{"matchid": 0, "tid": null}], "x": [NaN]}`))
	f.Add([]byte("\ufeff{\"matches\": []}"))
	f.Add(fogistest.List(3, 2, day))
	f.Fuzz(func(t *testing.T, data []byte) {
		matches, err := schema.ParseMatches(data)
		if err != nil {
			return
		}
		var again []byte
		for _, m := range matches {
			again = append(append(again, m.Raw()...), ',')
		}
		reparsed, err := schema.ParseMatches(append(append([]byte("["), bytes.TrimSuffix(again, []byte(","))...), ']'))
		require.NoError(t, err)
		require.Equal(t, matches, reparsed)
		message, err := schema.NewMatchUpdate(schema.MatchUpdate{Matches: matches})
		require.NoError(t, err)
		require.NoError(t, message.Validate())
	})
}
