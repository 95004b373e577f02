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
			Level: level, TimeFormat: time.TimeOnly, NoColor: !bool(a.colors(a.stderr)), ReplaceAttr: plainAttr,
		}))
	}
	return slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level}))
}

// plainAttr makes a text fit for a terminal. With colours, tint would leave escape sequences in it as they are.
func plainAttr(_ []string, attr slog.Attr) slog.Attr {
	switch v := attr.Value.Any().(type) {
	case string:
		attr.Value = slog.StringValue(oneLine(v))
	case error:
		attr.Value = slog.StringValue(oneLine(v.Error()))
	}
	return attr
}
