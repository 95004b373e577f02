package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/config"
)

func (a *app) configCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "config", Short: "Show and check the settings"})
	cmd.AddCommand(
		&cobra.Command{
			Use:   "print",
			Short: "Show every setting, where it comes from and what it means; passwords are hidden",
			Args:  cobra.NoArgs,
			RunE:  func(*cobra.Command, []string) error { return a.printConfig() },
		},
		&cobra.Command{
			Use:   "check",
			Short: "Check every setting and report all mistakes at once",
			Args:  cobra.NoArgs,
			RunE:  func(*cobra.Command, []string) error { return a.checkConfig() },
		})
	return cmd
}

func (a *app) printConfig() error {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	settings := cfg.Settings()
	if a.output == formatJSONL {
		for _, s := range settings {
			if err := a.printJSON(s); err != nil {
				return err
			}
		}
		return nil
	}
	return a.print(settings, func(w io.Writer) {
		t := newTable("SETTING", "VALUE", "FROM")
		for _, s := range settings {
			t.AppendRow([]any{s.Name, s.Value, string(s.Origin)})
		}
		render(w, t)
	})
}

// configReport is the result of config check.
type configReport struct {
	Valid  bool          `json:"valid"`
	Errors []configError `json:"errors"`
	Notes  []string      `json:"notes"`
}

type configError struct {
	Name     string        `json:"name"`
	Given    string        `json:"given"` // secrets redacted
	Origin   config.Origin `json:"origin"`
	Expected string        `json:"expected"`
}

func (a *app) checkConfig() error {
	report := configReport{Errors: []configError{}, Notes: []string{}}
	cfg, err := a.load(nil)
	var wrong *config.Error
	switch {
	case errors.As(err, &wrong) && a.output != formatTable:
		for _, f := range wrong.Fields {
			report.Errors = append(report.Errors, configError(f))
		}
		return errors.Join(a.printJSON(report), exit(exitUsage, nil))
	case err != nil:
		return err
	}
	report.Valid = true
	report.Notes = append(report.Notes, cfg.Notes()...)
	return a.print(report, func(w io.Writer) {
		fmt.Fprintln(w, "the settings are right")
		for _, note := range report.Notes {
			fmt.Fprintln(w, "note: "+note)
		}
	})
}
