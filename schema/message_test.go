package schema_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/PitchConnect/matchrelay/schema"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// odd are matches whose bytes no JSON encoder would write this way.
const odd = `[{"matchid" : 6186203,"lag1namn":"IFK Göteborg <b>&</b>","tal":1.0,  "stort": 123456789012345678901, "rad":"a` + "\u2028" + `b",
	"domaruppdraglista": [ {"domareid":"6600", "personnamn":"Åsa Exempelsson"} ]} , {"matchid":"x-1"}]`

func parse(t testing.TB, list string) []schema.Match {
	t.Helper()
	matches, err := schema.ParseMatches([]byte(list))
	require.NoError(t, err)
	return matches
}

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

var ten30 = at("2025-09-21T12:30:00.000999+02:00")

func goldenUpdate(t testing.TB) schema.MatchUpdate {
	return schema.MatchUpdate{
		Time: ten30, Matches: parse(t, odd), Cycle: 42,
		New: []string{"x-1"}, Updated: []string{"6186203"},
		Changes: []schema.DetailedChange{
			{MatchID: "x-1", Category: schema.NewAssignment, Priority: schema.High,
				Stakeholders: []schema.Stakeholder{schema.Referees, schema.Coordinators}, Description: "new match"},
			{MatchID: "6186203", MatchNr: "000402010", Category: schema.TimeChange, Priority: schema.Low, Field: "avsparkstid",
				Previous: json.RawMessage(`"17:00"`), Current: json.RawMessage(`{"a": "<&>"}`), Description: "17:00 -> <18:00> & så",
				Time: at("2025-09-21T10:29:59Z")},
		},
		Metadata: map[string]any{"trigger": "<manual> & så", "attempt": 2},
	}
}

func constructed(t testing.TB) map[string]schema.Message {
	messages := map[string]schema.Message{}
	add := func(name string, m schema.Message, err error) {
		require.NoError(t, err)
		messages[name] = m
	}
	m, err := schema.NewMatchUpdate(goldenUpdate(t))
	add("match_updates", m, err)
	m, err = schema.NewMatchUpdate(schema.MatchUpdate{Time: ten30})
	add("match_updates_empty", m, err)
	m, err = schema.NewStatus(schema.Status{Time: ten30, State: schema.StatusCompleted, Cycle: 42, Duration: 2500*time.Millisecond + 900, Matches: 15,
		Details: map[string]any{"changes": 3}})
	add("processing_status", m, err)
	m, err = schema.NewStatus(schema.Status{Time: ten30, Source: "other", State: schema.StatusFailed, Cycle: 43, Errors: []string{"fetch: <timeout>"}})
	add("processing_status_failed", m, err)
	m, err = schema.NewAlert(schema.Alert{Time: ten30, Type: schema.AlertProcessingError, Severity: schema.SeverityError, Message: "cycle 43 failed: <timeout> & så"})
	add("system_alert", m, err)
	return messages
}

func TestTheWireFormatIsThatOfTheGoldenFiles(t *testing.T) {
	for name, m := range constructed(t) {
		t.Run(name, func(t *testing.T) {
			id, err := uuid.Parse(m.ID)
			require.NoError(t, err)
			require.EqualValues(t, 7, id.Version())
			got := bytes.Replace(m.Bytes(), []byte(m.ID), []byte("01996c2a-0000-7000-8000-000000000000"), 1)
			file := filepath.Join("testdata", name+".json")
			if *update {
				require.NoError(t, os.WriteFile(file, got, 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), string(got))
		})
	}
}

func TestTheMatchesOfAnUpdateKeepTheirBytes(t *testing.T) {
	m, err := schema.NewMatchUpdate(goldenUpdate(t))
	require.NoError(t, err)
	for _, match := range parse(t, odd) {
		require.Contains(t, string(m.Bytes()), string(match.Raw()))
	}
}

func TestAMessageIsReadBackAsItWasBuilt(t *testing.T) {
	for name, m := range constructed(t) {
		t.Run(name, func(t *testing.T) {
			back, err := schema.Decode(m.Bytes())
			require.NoError(t, err)
			require.Equal(t, m, back)
			require.NoError(t, back.Validate())
			require.Equal(t, at("2025-09-21T10:30:00Z"), back.Timestamp)
		})
	}
	messages := constructed(t)

	u, err := messages["match_updates"].MatchUpdate()
	require.NoError(t, err)
	want := goldenUpdate(t)
	require.Equal(t, want.Matches, u.Matches)
	require.Equal(t, want.New, u.New)
	require.Equal(t, want.Updated, u.Updated)
	require.Empty(t, u.Removed)
	require.EqualValues(t, 42, u.Cycle)
	require.Equal(t, map[string]any{"trigger": json.RawMessage(`"<manual> & så"`), "attempt": json.RawMessage(`2`)}, u.Metadata)
	require.Len(t, u.Changes, 2)
	require.Equal(t, want.Changes[1].Description, u.Changes[1].Description)
	require.Equal(t, want.Changes[1].Time, u.Changes[1].Time)
	require.JSONEq(t, `{"a": "<&>"}`, string(u.Changes[1].Current))
	require.True(t, u.HighPriority())

	s, err := messages["processing_status"].Status()
	require.NoError(t, err)
	require.Equal(t, schema.Status{Source: schema.DefaultSource, Time: at("2025-09-21T10:30:00Z"), State: schema.StatusCompleted, Cycle: 42,
		Duration: 2500 * time.Millisecond, Matches: 15, Errors: []string{}, Details: map[string]any{"changes": json.RawMessage("3")}}, s)

	a, err := messages["system_alert"].Alert()
	require.NoError(t, err)
	require.Equal(t, schema.Alert{Source: schema.DefaultSource, Time: at("2025-09-21T10:30:00Z"), Type: schema.AlertProcessingError,
		Severity: schema.SeverityError, Message: "cycle 43 failed: <timeout> & så", Details: map[string]any{}}, a)

	_, err = messages["system_alert"].Status()
	require.EqualError(t, err, `invalid message: expected a message of type processing_status, not "system_alert"`)
	_, err = messages["processing_status"].Alert()
	require.Error(t, err)
	_, err = messages["processing_status"].MatchUpdate()
	require.Error(t, err)
}

func TestWithoutATimeAMessageIsFromNow(t *testing.T) {
	before := time.Now().Add(-time.Millisecond)
	m, err := schema.NewStatus(schema.Status{State: schema.StatusStarted})
	require.NoError(t, err)
	require.WithinRange(t, m.Timestamp, before, time.Now())
}

func TestConstructorsNameTheFieldThatIsWrong(t *testing.T) {
	far := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	u := func(u schema.MatchUpdate) func() (schema.Message, error) {
		return func() (schema.Message, error) { return schema.NewMatchUpdate(u) }
	}
	change := func(spoil func(*schema.DetailedChange)) func() (schema.Message, error) {
		changes := goldenUpdate(t).Changes
		spoil(&changes[1])
		return u(schema.MatchUpdate{Changes: changes})
	}
	s := func(s schema.Status) func() (schema.Message, error) {
		return func() (schema.Message, error) { return schema.NewStatus(s) }
	}
	a := func(a schema.Alert) func() (schema.Message, error) {
		return func() (schema.Message, error) { return schema.NewAlert(a) }
	}
	for want, build := range map[string]func() (schema.Message, error){
		"timestamp: expected a year from 1 to 9999":                                                     u(schema.MatchUpdate{Time: far}),
		"metadata.has_changes is a standard key and cannot be overridden; choose another":               u(schema.MatchUpdate{Metadata: map[string]any{"has_changes": false}}),
		"metadata.x: a chan int that cannot be encoded as JSON":                                         u(schema.MatchUpdate{Metadata: map[string]any{"x": make(chan int)}}),
		"matches[0]: not made by ParseMatches":                                                          u(schema.MatchUpdate{Matches: make([]schema.Match, 1)}),
		"detailed_changes[1].previous_value: expected JSON":                                             change(func(c *schema.DetailedChange) { c.Previous = json.RawMessage("{") }),
		"detailed_changes[1].current_value: expected JSON":                                              change(func(c *schema.DetailedChange) { c.Current = json.RawMessage("NaN") }),
		"detailed_changes[1].match_id: expected a text that is not empty":                               change(func(c *schema.DetailedChange) { c.MatchID = "" }),
		"detailed_changes[1].priority: expected one of [low medium high critical]":                      change(func(c *schema.DetailedChange) { c.Priority = "urgent" }),
		"detailed_changes[1].affected_stakeholders: expected some of [referees coordinators teams all]": change(func(c *schema.DetailedChange) { c.Stakeholders = []schema.Stakeholder{"press"} }),
		"detailed_changes[1].category: expected one of [new_assignment referee_change time_change date_change venue_change team_change cancellation postponement interruption status_change competition_change match_removed contact_change unknown]": change(func(c *schema.DetailedChange) { c.Category = "tid" }),
		"timestamp: expected a year from 1 to 9999 ":                      s(schema.Status{Time: far, State: schema.StatusStarted}),
		"status: expected started, completed or failed":                   s(schema.Status{State: "begun"}),
		"processing_duration_ms: expected 0 or more":                      s(schema.Status{State: schema.StatusStarted, Duration: -1}),
		"matches_processed: expected 0 or more":                           s(schema.Status{State: schema.StatusStarted, Matches: -1}),
		"details.rate: a float64 that cannot be encoded as JSON":          s(schema.Status{State: schema.StatusStarted, Details: map[string]any{"rate": math.NaN()}}),
		"timestamp: expected a year from 1 to 9999  ":                     a(schema.Alert{Time: far}),
		"alert_type: expected a lower-case name such as processing_error": a(schema.Alert{Type: "Oops", Severity: "info", Message: "x"}),
		"severity: expected info, warning, error or critical":             a(schema.Alert{Type: "oops", Severity: "bad", Message: "x"}),
		"message: expected a text that is not empty":                      a(schema.Alert{Type: "oops", Severity: "info"}),
		"details.deep: a json.RawMessage that cannot be encoded as JSON":  a(schema.Alert{Type: "oops", Severity: "info", Message: "x", Details: map[string]any{"deep": json.RawMessage(strings.Repeat("[", 65) + strings.Repeat("]", 65))}}),
	} {
		t.Run(want, func(t *testing.T) {
			_, err := build()
			require.ErrorIs(t, err, schema.ErrMessage)
			require.EqualError(t, err, "invalid message: "+strings.TrimSpace(want))
		})
	}
}

func TestAChangeBeyondTheYear9999IsRefused(t *testing.T) {
	changes := goldenUpdate(t).Changes
	changes[1].Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	_, err := schema.NewMatchUpdate(schema.MatchUpdate{Changes: changes})
	require.ErrorIs(t, err, schema.ErrMessage)
	require.EqualError(t, err, "detailed_changes[1]: invalid message: timestamp: expected a year from 1 to 9999")
}

func TestWhateverIsBuiltIsValid(t *testing.T) {
	states := []string{schema.StatusStarted, schema.StatusCompleted, schema.StatusFailed}
	severities := []string{schema.SeverityInfo, schema.SeverityWarning, schema.SeverityError, schema.SeverityCritical}
	rapid.Check(t, func(t *rapid.T) {
		when := time.Unix(rapid.Int64Range(0, 250_000_000_000).Draw(t, "time"), 0)
		details := map[string]any{rapid.String().Draw(t, "key"): rapid.Float64().Draw(t, "value")}
		m, err := schema.NewStatus(schema.Status{Time: when, State: rapid.SampledFrom(states).Draw(t, "state"), Cycle: rapid.Uint64().Draw(t, "cycle"),
			Duration: time.Duration(rapid.Int64Min(0).Draw(t, "duration")), Errors: rapid.SliceOf(rapid.String()).Draw(t, "errors"), Details: details})
		require.NoError(t, err)
		require.NoError(t, m.Validate())
		m, err = schema.NewAlert(schema.Alert{Time: when, Type: rapid.StringMatching(`[a-z][a-z_]*`).Draw(t, "type"),
			Severity: rapid.SampledFrom(severities).Draw(t, "severity"), Message: rapid.StringN(1, 99, -1).Draw(t, "message"), Details: details})
		require.NoError(t, err)
		require.NoError(t, m.Validate())
		back, err := schema.Decode(m.Bytes())
		require.NoError(t, err)
		require.Equal(t, m, back)
	})
}

func TestWhatIsNoMessageIsNotDecoded(t *testing.T) {
	const head = `{"message_id":"m","type":"t","source":"s","timestamp":"2025-09-21T10:30:00Z"`
	for name, c := range map[string]struct{ data, want string }{
		"broken JSON":             {`{"a"`, `expected ':' after a member name at byte 4`},
		"NaN":                     {head + `,"payload":{"x":NaN}}`, `NaN is not JSON, expected a number or null`},
		"data after it":           {head + `,"payload":{}}{}`, `unexpected data after the JSON value at byte 90`},
		"no object":               {`[]`, `message_id: expected a text that is not empty`},
		"no type":                 {`{"message_id":"m"}`, `type: expected a text that is not empty`},
		"another case":            {`{"message_id":"m","Type":"t"}`, `type: expected a text that is not empty`},
		"a number for a text":     {`{"message_id":5}`, `message_id: expected a text that is not empty`},
		"a time without a zone":   {`{"message_id":"m","type":"t","source":"s","timestamp":"2025-09-21T10:30:00"}`, `timestamp: expected a time such as 2025-09-21T10:30:00.000Z`},
		"no payload":              {head + `}`, `payload: expected an object`},
		"a payload of other type": {head + `,"payload":[]}`, `payload: expected an object`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := schema.Decode([]byte(c.data))
			require.ErrorIs(t, err, schema.ErrMessage)
			require.EqualError(t, err, "invalid message: "+c.want)
		})
	}
}

// Each row spoils one golden message: the first text is replaced by the second.
func TestValidateAndTheJSONSchemaAgreeOnBadMessages(t *testing.T) {
	for name, c := range map[string]struct{ file, old, new, want string }{
		"an id that is no UUID":            {"system_alert", "01996c2a-", "zz", "message_id: expected a text that matches ^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"},
		"another version":                  {"system_alert", `"version":"1.0"`, `"version":"3.0"`, "version: expected 1.0"},
		"a time without milliseconds":      {"system_alert", `00.000Z"`, `00Z"`, "timestamp: expected a text that matches"},
		"another severity":                 {"system_alert", `"severity":"error"`, `"severity":"secret"`, "payload.severity: expected one of [info warning error critical]"},
		"an alert without details":         {"system_alert", `"details"`, `"detail"`, "payload: missing details"},
		"an empty message":                 {"system_alert", `"message":"cycle`, `"message":"","x":"cycle`, "payload.message: breaks the rule minLength"},
		"another state":                    {"processing_status", `"status":"completed"`, `"status":"done"`, "payload.status: expected one of [started completed failed]"},
		"a negative cycle":                 {"processing_status", `"cycle_number":42`, `"cycle_number":-1`, "payload.cycle_number: breaks the rule minimum"},
		"a count as text":                  {"processing_status", `"matches_processed":15`, `"matches_processed":"15"`, "payload.matches_processed: expected integer"},
		"errors that are null":             {"processing_status", `"errors":[]`, `"errors":null`, "payload.errors: expected array"},
		"no schema_version at the top":     {"match_updates", `"schema_version":"2.0","payload"`, `"payload"`, "envelope: missing schema_version"},
		"no schema_version in the payload": {"match_updates", `"schema_version":"2.0","detailed`, `"detailed`, "payload: missing schema_version"},
		"schema_version as a number":       {"match_updates", `"schema_version":"2.0"`, `"schema_version":2.0`, "schema_version: expected 2.0"},
		"another category":                 {"match_updates", `"category":"time_change"`, `"category":"tid"`, "payload.detailed_changes.1.category: expected one of"},
		"a change without a value":         {"match_updates", `"previous_value":null`, `"x":null`, "payload.detailed_changes.0: missing previous_value"},
		"a match without id":               {"match_updates", `"matchid":"x-1"`, `"id":"x-1"`, "payload.matches.1: missing matchid"},
		"a match of wrong type":            {"match_updates", `"tal":1.0`, `"installd":"nej"`, "payload.matches.0.installd: expected boolean or null"},
		"an id list that is null":          {"match_updates", `"removed_match_ids":[]`, `"removed_match_ids":null`, "payload.metadata.change_detection.removed_match_ids: expected array"},
	} {
		t.Run(name, func(t *testing.T) {
			golden, err := os.ReadFile(filepath.Join("testdata", c.file+".json"))
			require.NoError(t, err)
			require.Contains(t, string(golden), c.old)
			bad := []byte(strings.Replace(string(golden), c.old, c.new, 1))
			m, err := schema.Decode(bad)
			require.NoError(t, err)
			err = m.Validate()
			require.ErrorIs(t, err, schema.ErrMessage)
			require.ErrorContains(t, err, "invalid message: "+c.want)
			require.NotContains(t, err.Error(), "secret")
			require.Error(t, validateBySchema(t, c.file, bad))
		})
	}
}

func TestValidateSeesMoreThanASchemaCan(t *testing.T) {
	golden, err := os.ReadFile("testdata/match_updates.json")
	require.NoError(t, err)
	m, err := schema.Decode(bytes.Replace(golden, []byte(`"x-1"`), []byte(`"6186203"`), 1))
	require.NoError(t, err)
	require.EqualError(t, m.Validate(), "invalid message: payload.matches: invalid match list: matches[1] (matchid 6186203): field matchid: matches[0] has the same id")

	golden, err = os.ReadFile("testdata/processing_status.json")
	require.NoError(t, err)
	m, err = schema.Decode(bytes.Replace(golden, []byte(`:42`), []byte(`:1e300`), 1))
	require.NoError(t, err)
	require.EqualError(t, m.Validate(), "invalid message: the payload does not fit a processing_status")

	m, err = schema.Decode([]byte(`{"message_id":"m","type":"weather","source":"s","timestamp":"2025-09-21T10:30:00Z","payload":{}}`))
	require.NoError(t, err)
	require.EqualError(t, m.Validate(), "invalid message: type: expected match_updates, processing_status or system_alert")
}

func TestAPayloadOfAnotherShapeIsAnErrorWithoutItsValues(t *testing.T) {
	envelope := `{"message_id":"m","source":"s","timestamp":"2025-09-21T10:30:00Z","type":"match_updates","payload":`
	for payload, want := range map[string]string{
		`{"detailed_changes":"secret"}`:           "the payload does not fit a match_updates",
		`{"metadata":{"total_matches":"secret"}}`: "the metadata does not fit a match_updates",
		`{"matches":"secret"}`:                    "payload.matches: invalid match list: expected a list of matches",
	} {
		m, err := schema.Decode([]byte(envelope + payload + "}"))
		require.NoError(t, err)
		_, err = m.MatchUpdate()
		require.ErrorContains(t, err, "invalid message: "+want)
		require.NotContains(t, err.Error(), "secret")
	}
}

func validateBySchema(t testing.TB, name string, data []byte) error {
	c := jsonschema.NewCompiler()
	for _, n := range schema.JSONSchemas() {
		file, found := schema.JSONSchema(n)
		require.True(t, found)
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(file))
		require.NoError(t, err)
		require.NoError(t, c.AddResource("https://github.com/PitchConnect/matchrelay/schema/"+n+".json", doc))
	}
	s, err := c.Compile("https://github.com/PitchConnect/matchrelay/schema/" + name + ".json")
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return err
	}
	return s.Validate(doc)
}

func TestTheJSONSchemasTakeWhatIsRight(t *testing.T) {
	for name, m := range constructed(t) {
		require.NoError(t, validateBySchema(t, m.Type, m.Bytes()), name)
	}
	for _, list := range []string{odd, `[]`, `{"matches": [], "x": 1}`, `{"matchlista": [{"matchid": 1, "tid": null}]}`, string(fogistest.List(1, 20, day))} {
		require.NoError(t, validateBySchema(t, schema.MatchList, []byte(list)))
		_, err := schema.ParseMatches([]byte(list))
		require.NoError(t, err)
	}
	for _, list := range []string{`null`, `{}`, `{"matches": null}`, `{"matches": [], "matchlista": []}`, `[null]`, `[{}]`, `[{"matchid": 1.5}]`, `[{"matchid": ""}]`,
		`[{"matchid": "a b"}]`, `[{"matchid": -1}]`, `[{"matchid": 1, "installd": 1}]`, `[{"matchid": 1, "domaruppdraglista": [5]}]`,
		`[{"matchid": 1, "kontaktpersoner": [{"epostadress": 5}]}]`, `[{"matchid": 1, "lag1lagid": true}]`} {
		require.Error(t, validateBySchema(t, schema.MatchList, []byte(list)), list)
		_, err := schema.ParseMatches([]byte(list))
		require.Error(t, err, list)
	}
	_, found := schema.JSONSchema("weather")
	require.False(t, found)
}

func FuzzDecode(f *testing.F) {
	for _, m := range constructed(f) {
		f.Add(m.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := schema.Decode(data)
		if err != nil {
			require.ErrorIs(t, err, schema.ErrMessage)
			return
		}
		require.Equal(t, data, m.Bytes())
		if m.Validate() != nil {
			return
		}
		switch m.Type {
		case schema.TypeMatchUpdates:
			_, err = m.MatchUpdate()
		case schema.TypeProcessingStatus:
			_, err = m.Status()
		case schema.TypeSystemAlert:
			_, err = m.Alert()
		}
		require.NoError(t, err)
	})
}
