package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/schema"
)

func (a *app) schemaCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "schema", Short: "Print the JSON Schemas, and hold messages and match lists against them"})
	cmd.AddCommand(a.schemaPrintCommand(), a.schemaValidateCommand())
	return cmd
}

func (a *app) schemaPrintCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "print NAME",
		Short:     "Print a JSON Schema",
		Long:      fmt.Sprintf("Print writes one of the JSON Schemas %v (draft 2020-12).", schema.JSONSchemas()),
		ValidArgs: schema.JSONSchemas(),
		Args:      oneArgument,
		RunE: func(_ *cobra.Command, args []string) error {
			text, ok := schema.JSONSchema(args[0])
			if !ok {
				return usageError(fmt.Errorf("unknown schema: expected one of %v", schema.JSONSchemas()))
			}
			if a.output == formatJSONL {
				return a.printJSON(json.RawMessage(text))
			}
			if _, err := a.stdout.Write(text); err != nil {
				return fmt.Errorf("write the result: %w", err)
			}
			return nil
		},
	}
}

func (a *app) schemaValidateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE|-",
		Short: "Say whether a message or a match list is valid",
		Long: `Validate reads a message, as subscribers get it, or a match list, as ingest takes it: [...], {"matches": [...]} or
{"matchlista": [...]}. The exit code is 0 when it is valid and 5 when it is not. No value of it is shown.`,
		Args: oneArgument,
		RunE: func(cmd *cobra.Command, args []string) error { return a.schemaValidate(cmd.Context(), args[0]) },
	}
}

// validity is the result of schema validate.
type validity struct {
	Schema  string `json:"schema"` // "" when it cannot be told
	Valid   bool   `json:"valid"`
	Matches int    `json:"matches"` // of a match list
	Problem string `json:"problem"` // "" when it is valid
}

func (a *app) schemaValidate(ctx context.Context, file string) error {
	data, err := a.readAll(ctx, file)
	if err != nil {
		return err
	}
	v := validate(data)
	err = a.print(v, func(w io.Writer) {
		if v.Valid {
			fmt.Fprintf(w, "%s: a valid %s%s\n", file, v.Schema, map[bool]string{true: ", " + count(v.Matches, "match")}[v.Schema == schema.MatchList])
		}
	})
	if !v.Valid {
		err = errors.Join(err, exit(exitUnverified, fmt.Errorf("%s: %s; see: matchrelay schema print %s", file, v.Problem, orNames(v.Schema))))
	}
	return err
}

func orNames(name string) string {
	if name == "" {
		return "NAME"
	}
	return name
}

// validate tells what data is, and whether it is right.
func validate(data []byte) (v validity) {
	var err error
	if isMatchList(data) {
		v.Schema = schema.MatchList
		var matches []schema.Match
		matches, err = schema.ParseMatches(data)
		v.Matches = len(matches)
	} else {
		var m schema.Message
		if m, err = schema.Decode(data); err == nil {
			if _, known := schema.JSONSchema(m.Type); known && m.Type != schema.MatchList {
				v.Schema = m.Type
			}
			err = m.Validate()
		}
	}
	if v.Valid = err == nil; !v.Valid {
		v.Matches, v.Problem = 0, err.Error()
	}
	return v
}

// isMatchList goes by the outermost value: a list, or an object with one of the names that a list may have.
func isMatchList(data []byte) bool {
	data = bytes.TrimLeft(bytes.TrimPrefix(data, []byte("\ufeff")), " \t\r\n")
	if len(data) == 0 || data[0] != '{' {
		return true
	}
	var names map[string]json.RawMessage
	_ = json.Unmarshal(data, &names) // what is no JSON is told by the parser of messages
	return names["matches"] != nil || names["matchlista"] != nil
}

// readAll reads a file, or standard input for "-", of at most schema.MaxListBytes.
func (a *app) readAll(ctx context.Context, file string) ([]byte, error) {
	var input io.ReadCloser
	if file == "-" {
		input = a.input(ctx)
	} else {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		input = f
	}
	defer input.Close()
	data, err := io.ReadAll(io.LimitReader(input, schema.MaxListBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if len(data) > schema.MaxListBytes {
		return nil, exit(exitUnverified, fmt.Errorf("%s: %w: more than %d bytes", file, schema.ErrTooLarge, schema.MaxListBytes))
	}
	return data, nil
}
