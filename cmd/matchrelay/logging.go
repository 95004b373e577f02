package main

import (
	"log/slog"
	"time"

	"github.com/lmittmann/tint"

	"github.com/PitchConnect/matchrelay/config"
)

// logger writes to standard error: for people on a terminal, else as key=value lines.
func (a *app) logger(cfg *config.Config) *slog.Logger { return a.loggerAt(cfg.Processor.LogLevel) }

// loggerAt leaves out what is below a level.
func (a *app) loggerAt(level slog.Leveler) *slog.Logger {
	if a.terminal(a.stderr) {
		return slog.New(tint.NewTextHandler(a.stderr, &tint.Options{
			Level: level, TimeFormat: time.TimeOnly, NoColor: !bool(a.colors(a.stderr)),
		}))
	}
	return slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level}))
}
