package simulation

import (
	"context"
	"log/slog"
	"strings"
)

// discreetHandler sees to it that no payload is logged.
type discreetHandler struct{ w *world }

func (h *discreetHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *discreetHandler) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += " " + a.String()
		return true
	})
	h.w.trace("log: %s", text)
	if strings.Contains(text, secret) {
		h.w.violate("a payload is logged: %s", r.Message)
	}
	return nil
}

func (h *discreetHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h *discreetHandler) WithGroup(string) slog.Handler { return h }
