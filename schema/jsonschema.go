package schema

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	rules "github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// MatchList is the name of the JSON Schema of match lists. The other schemas
// have the names of the message types.
const MatchList = "match_list"

//go:embed schemas/*.json
var schemaFiles embed.FS

// JSONSchemas are the names that JSONSchema knows.
func JSONSchemas() []string {
	return []string{MatchList, TypeMatchUpdates, TypeProcessingStatus, TypeSystemAlert}
}

// JSONSchema returns the named JSON Schema (draft 2020-12).
func JSONSchema(name string) ([]byte, bool) {
	file, err := schemaFiles.ReadFile("schemas/" + name + ".json")
	return file, err == nil
}

// compiled holds the schemas of the messages by type. Compiling the embedded
// files cannot fail: a test does it.
var compiled = sync.OnceValue(func() map[string]*jsonschema.Schema {
	c := jsonschema.NewCompiler()
	for _, name := range JSONSchemas() {
		file, _ := JSONSchema(name)
		doc, _ := jsonschema.UnmarshalJSON(bytes.NewReader(file))
		_ = c.AddResource(URL(name), doc)
	}
	schemas := map[string]*jsonschema.Schema{}
	for _, name := range []string{TypeMatchUpdates, TypeProcessingStatus, TypeSystemAlert} {
		schemas[name] = c.MustCompile(URL(name))
	}
	return schemas
})

// URL is the $id of a named JSON Schema.
func URL(name string) string {
	return "https://github.com/PitchConnect/matchrelay/schema/" + name + ".json"
}

// Validate checks the message against the JSON Schema of its type, and the
// matches of a match update like ParseMatches. The error wraps ErrMessage and
// names the first place that is wrong and what is expected there, but no value.
//
// The constructors make valid messages only; Validate is for those that come
// from elsewhere.
func (m Message) Validate() error {
	s, known := compiled()[m.Type]
	if !known {
		return fmt.Errorf("%w: type: expected %s, %s or %s", ErrMessage, TypeMatchUpdates, TypeProcessingStatus, TypeSystemAlert)
	}
	if err := checkJSON(m.data, messageDepth); err != nil { // numbers that take seconds to compare
		return fmt.Errorf("%w: %w", ErrMessage, err)
	}
	doc, _ := jsonschema.UnmarshalJSON(bytes.NewReader(m.data)) // has been checked by Decode
	err := s.Validate(doc)
	var invalid *jsonschema.ValidationError
	if errors.As(err, &invalid) {
		for len(invalid.Causes) > 0 {
			invalid = invalid.Causes[0]
		}
		where := strings.Join(invalid.InstanceLocation, ".")
		if where == "" {
			where = "envelope"
		}
		return fmt.Errorf("%w: %s: %s", ErrMessage, where, explain(invalid.ErrorKind))
	}
	// Go's types are narrower than what a schema calls an integer.
	switch m.Type {
	case TypeMatchUpdates:
		_, err = m.matchUpdate(ParseMatches)
	case TypeProcessingStatus:
		_, err = m.Status()
	case TypeSystemAlert:
		_, err = m.Alert()
	}
	return err
}

// explain says what a schema expected. The library's own texts quote values.
func explain(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *rules.Required:
		return "missing " + strings.Join(k.Missing, ", ")
	case *rules.Type:
		return "expected " + strings.Join(slices.Sorted(slices.Values(k.Want)), " or ")
	case *rules.Enum:
		return fmt.Sprintf("expected one of %v", k.Want)
	case *rules.Const:
		return fmt.Sprintf("expected %v", k.Want)
	case *rules.MaxItems:
		return fmt.Sprintf("expected at most %d items, got %d", k.Want, k.Got)
	case *rules.MaxProperties:
		return fmt.Sprintf("expected at most %d fields, got %d", k.Want, k.Got)
	case *rules.Pattern:
		return "expected a text that matches " + k.Want
	}
	return "breaks the rule " + strings.Join(k.KeywordPath(), ".")
}
