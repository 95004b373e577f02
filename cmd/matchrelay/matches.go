package main

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/PitchConnect/matchrelay/config"
)

func (a *app) matchesCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "matches", Short: "Look at the recorded matches, and how they came about"})
	cmd.AddCommand(a.matchesListCommand(), a.matchesShowCommand(), a.matchesHistoryCommand())
	return cmd
}

// matchFlags choose which state is shown, and how much of it.
type matchFlags struct {
	at  string
	raw bool
}

func (f *matchFlags) addTo(flags *pflag.FlagSet) {
	flags.StringVar(&f.at, "at", "", "as the log held it at a time (2025-09-21T10:30:00Z, 2025-09-21) or a duration ago (2h)")
	flags.BoolVar(&f.raw, "raw", false, "print the JSON as it was recorded; it holds personal data")
}

// moment reads --at; the zero time means now.
func (f *matchFlags) moment(cfg *config.Config) (time.Time, error) {
	at, err := parseTime("--at", f.at, cfg.Processor.Location, time.Now())
	if at.IsZero() {
		return at, err
	}
	return at.In(cfg.Processor.Location), err
}
