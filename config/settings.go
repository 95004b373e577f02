package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Variable is one row of the table of variables.
type Variable struct {
	Group   string // heading that it stands under
	Name    string
	Default string // "" = not set
	Meaning string

	field   string // Go field, unique in the whole table: env's errors name only it
	secret  string // "", "all" or "url"
	ignored string // not empty: why setting it has no effect
}

var variables = tableOf(reflect.TypeFor[Config]())

// Variables returns the table of all variables, in the order to show them.
func Variables() []Variable { return slices.Clone(variables) }

func tableOf(config reflect.Type) []Variable {
	var table []Variable
	for g := range config.NumField() {
		group := config.Field(g)
		if group.Tag.Get("title") == "" {
			continue
		}
		for f := range group.Type.NumField() {
			field := group.Type.Field(f)
			if name := field.Tag.Get("env"); name != "" {
				table = append(table, Variable{
					Group: group.Tag.Get("title"), Name: name, Default: field.Tag.Get("envDefault"),
					Meaning: field.Tag.Get("meaning"),
					field:   field.Name, secret: field.Tag.Get("secret"), ignored: field.Tag.Get("ignored"),
				})
			}
		}
	}
	return table
}

// Setting is one variable with the value that it has, for people to read.
type Setting struct {
	Name    string `json:"name"`
	Value   string `json:"value"` // secrets redacted
	Default string `json:"default"`
	Origin  Origin `json:"origin"`
	Meaning string `json:"meaning"`
}

// Settings returns every variable in table order, secrets redacted.
func (c *Config) Settings() []Setting {
	var rows []Setting
	for _, v := range variables {
		rows = append(rows, c.setting(v.Name))
	}
	return rows
}

func (c *Config) setting(name string) Setting {
	v := variables[slices.IndexFunc(variables, func(v Variable) bool { return v.Name == name })]
	value := v.Default
	if g, ok := c.given[name]; ok {
		value = g.value
	} else if name == "MATCHRELAY_DB" {
		value = c.Outbox.Path
	} else if name == "MATCHRELAY_SOCKET" {
		value = c.Outbox.Socket
	} else if name == "PREVIOUS_MATCHES_FILE" {
		value = c.Processor.PreviousMatches
	}
	switch v.secret {
	case "all":
		value = Secret(value).String()
	case "url":
		value = redactURL(value)
	}
	return Setting{Name: name, Value: value, Default: v.Default, Origin: c.origin(name), Meaning: v.Meaning}
}

// Notes returns what a person should know although nothing is wrong, one line
// each: variables that are set but have no effect, and names
// that look like a misspelt variable. Log them once at start.
func (c *Config) Notes() []string {
	var notes []string
	for _, v := range variables {
		if _, set := c.given[v.Name]; set && v.ignored != "" {
			notes = append(notes, fmt.Sprintf("%s has no effect: %s", v.Name, v.ignored))
		}
	}
	names := slices.Clone(c.names)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if ours(name) && !slices.ContainsFunc(variables, func(v Variable) bool { return v.Name == name }) {
			notes = append(notes, fmt.Sprintf("%s is not a variable of matchrelay: the nearest name is %s", name, nearest(name)))
		}
	}
	return notes
}

func ours(name string) bool {
	return slices.ContainsFunc([]string{"REDIS_", "RELAY_", "OUTBOX_", "MATCHRELAY_"},
		func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// nearest returns the variable whose name takes the fewest edits to reach.
func nearest(name string) string {
	return slices.MinFunc(variables, func(a, b Variable) int { return edits(name, a.Name) - edits(name, b.Name) }).Name
}

// edits is the Levenshtein distance: insertions, deletions and replacements.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
