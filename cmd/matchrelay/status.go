package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/schema"
)

// status is the result of the status command. Fields are added, never renamed.
type status struct {
	Origin   string         `json:"origin"`
	Epoch    uint64         `json:"epoch"`
	Relay    relayStatus    `json:"relay"`
	Topics   []topicStatus  `json:"topics"`
	Database databaseStatus `json:"database"`
	Live     bool           `json:"live,omitempty"` // told by the process that has the outbox open
}

type relayStatus struct {
	State     relay.State `json:"state"`
	Since     string      `json:"since"` // "" when not known
	LastError string      `json:"last_error"`
}

type topicStatus struct {
	Topic                string  `json:"topic"`
	Channel              string  `json:"channel"` // "" for a topic that is not relayed
	LastSequence         uint64  `json:"last_sequence"`
	SettledSequence      uint64  `json:"settled_sequence"`
	Pending              uint64  `json:"pending"`
	Held                 uint64  `json:"held"`
	Parked               uint64  `json:"parked"`
	Delivered            uint64  `json:"delivered"`
	Unheard              uint64  `json:"unheard"`
	Discarded            uint64  `json:"discarded"`
	Replayed             uint64  `json:"replayed"`
	OldestPendingSeconds float64 `json:"oldest_pending_seconds"`
	Receivers            int     `json:"receivers"` // when the relay last asked

	// What only a running relay knows, as is Held.
	State     relay.State `json:"state,omitempty"`
	LastError string      `json:"last_error,omitempty"`
	Amnesias  int         `json:"amnesias,omitempty"` // since it was started, as is Readded
	Readded   int         `json:"readded,omitempty"`
	// Stream is missing without streams, and where Redis does not tell.
	Stream *relay.StreamHealth `json:"stream,omitempty"`
}

type databaseStatus struct {
	Path      string `json:"path"`
	Bytes     int64  `json:"bytes"`
	LiveBytes uint64 `json:"live_bytes"` // what OUTBOX_MAX_BYTES caps
	Events    uint64 `json:"events"`
}

// limits say from when on status --check is not content.
type limits struct {
	check                  bool
	warnAge, criticalAge   time.Duration
	warnParked, critParked int
}

func (a *app) statusCommand() *cobra.Command {
	var l limits
	var watch time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what is delivered, what waits and what is parked",
		Long: `Status asks the process that has the outbox open, or opens the file itself. Only a process that runs knows the state of
its relay. It exits with 4 when another process has the file and does not serve the control socket.

With --check it answers like a monitoring plug-in: exit code 0 ok, 1 warning, 2 critical, by the age of the oldest
pending event and the number of parked ones.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watching := cmd.Flags().Changed("watch"); watching && l.check || watching && watch < leastWatch {
				return usageError(fmt.Errorf("--watch: expected %v or more, and no --check", leastWatch))
			} else if watching && a.output == formatJSON {
				return usageError(errors.New("--watch: one document follows the other; use -o jsonl, or a table"))
			}
			return a.status(cmd.Context(), l, watch)
		},
	}
	flags := cmd.Flags()
	flags.DurationVar(&watch, "watch", 0, "show it again and again, with this time in between (2s), until Ctrl-C")
	flags.BoolVar(&l.check, "check", false, "exit with 0, 1 or 2 for ok, warning or critical")
	flags.DurationVar(&l.warnAge, "warn-age", time.Minute, "with --check: oldest pending event, warning")
	flags.DurationVar(&l.criticalAge, "critical-age", 15*time.Minute, "with --check: oldest pending event, critical")
	flags.IntVar(&l.warnParked, "warn-parked", 1, "with --check: parked events, warning")
	flags.IntVar(&l.critParked, "critical-parked", 10, "with --check: parked events, critical")
	return cmd
}

func (a *app) status(ctx context.Context, l limits, watch time.Duration) error {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	if watch > 0 {
		return a.watch(ctx, cfg, watch)
	}
	s, err := a.look(ctx, cfg)
	if err != nil {
		return err
	}
	if err := a.print(s, func(w io.Writer) { writeStatus(w, s, cfg) }); err != nil {
		return err
	}
	if !l.check {
		return nil
	}
	return l.judge(s)
}

// newStatus puts the counters together. Topics of the configuration come first, also those without events.
func newStatus(stats outbox.Stats, path string, cfg *config.Config, now time.Time) status {
	s := status{
		Origin:   stats.Origin,
		Epoch:    stats.Epoch,
		Relay:    relayStatus{State: relay.NotRunning},
		Database: databaseStatus{Path: path, Bytes: stats.FileBytes, LiveBytes: stats.Bytes, Events: stats.Events},
	}
	channels := cfg.Redis.Channels()
	for _, topic := range config.Topics {
		if !slices.ContainsFunc(stats.Topics, func(t outbox.TopicStats) bool { return t.Topic == topic }) {
			stats.Topics = append(stats.Topics, outbox.TopicStats{Topic: topic})
		}
	}
	slices.SortFunc(stats.Topics, func(a, b outbox.TopicStats) int { return strings.Compare(a.Topic, b.Topic) })
	for _, t := range stats.Topics {
		row := topicStatus{
			Topic: t.Topic, Channel: channels[t.Topic], LastSequence: t.LastSequence, SettledSequence: t.Cursor,
			Pending: t.Pending, Parked: t.Parked, Delivered: t.Delivered, Unheard: t.Unheard, Discarded: t.Discarded,
			Replayed: t.Replayed, Receivers: t.Progress.Receivers,
		}
		if !t.OldestPending.IsZero() {
			row.OldestPendingSeconds = max(0, now.Sub(t.OldestPending).Round(time.Millisecond).Seconds())
		}
		s.Topics = append(s.Topics, row)
	}
	return s
}

func writeStatus(w io.Writer, s status, cfg *config.Config) {
	fmt.Fprintf(w, "outbox  %s, %s, %s\n", oneLine(s.Database.Path), count(int(s.Database.Events), "event"), byteText(s.Database.Bytes))
	fmt.Fprintf(w, "origin  %s, epoch %d%s\n", brief(s.Origin), s.Epoch, map[bool]string{true: " (an older copy of the file was put back)"}[s.Epoch > 1])
	fmt.Fprintf(w, "relay   %s\n\n", s.Relay.text(cfg.Processor.Location))
	header := []any{"TOPIC", "CHANNEL", "LAST", "PENDING", "OLDEST", "PARKED", "DELIVERED", "UNHEARD"}
	if s.Live {
		header = append(header, "HELD", "RECEIVERS", "STATE")
	}
	t := newTable(header...)
	for _, row := range s.Topics {
		oldest := ""
		if row.Pending > 0 {
			oldest = time.Duration(row.OldestPendingSeconds * float64(time.Second)).Round(time.Second).String()
		}
		cells := []any{row.Topic, row.Channel, row.LastSequence, row.Pending, oldest, row.Parked, row.Delivered, row.Unheard}
		if s.Live {
			cells = append(cells, row.Held, row.Receivers, row.State)
		}
		t.AppendRow(cells)
	}
	render(w, t)
	for _, row := range s.Topics {
		if row.Stream != nil && row.Stream.Slowest != "" {
			fmt.Fprintf(w, "stream of %s: %d entries; %s (%s)\n", row.Topic, row.Stream.Entries, behindText(*row.Stream), capText(*row.Stream))
		}
	}
	switch pending, parked, unheard := s.totals(); {
	case parked > 0:
		fmt.Fprintln(w, "\nlook at what is parked with: matchrelay events list --state parked")
	case pending > 0 && !s.Live:
		fmt.Fprintln(w, "\ndeliver what is pending with: matchrelay relay --until-empty")
	case unheard > 0:
		fmt.Fprintln(w, "\nsend what no one heard again with: matchrelay events replay --state unheard")
		if slices.ContainsFunc(s.Topics, func(t topicStatus) bool { return t.Topic == schema.TypeMatchUpdates && t.Unheard > 0 }) {
			fmt.Fprintln(w, "(instead of a match update that a newer one supersedes, send the current list with: matchrelay resync)")
		}
	}
}

// behindText says how far the slowest reader is behind.
func behindText(h relay.StreamHealth) string {
	text := harmless(h.Slowest) + " has read nothing yet"
	if h.Behind >= 0 {
		text = fmt.Sprintf("%s is %v behind", harmless(h.Slowest), time.Duration(h.Behind*float64(time.Second)).Round(time.Second))
	}
	if h.Lag >= 0 {
		text += fmt.Sprintf(", with %d to read", h.Lag)
	}
	return text
}

// capText says how much a stream keeps for the slowest reader, and what to do when that is not enough.
func capText(h relay.StreamHealth) string {
	unread := h.Lag
	if unread < 0 && h.Behind != 0 { // Redis does not tell: at most so many
		unread = h.Entries
	}
	text := fmt.Sprintf("about %d are kept for it", h.MaxUnread)
	switch {
	case unread >= h.MaxUnread:
		text += ", by RELAY_STREAM_MAX_UNREAD: what it does not read now is lost to it; start its readers, raise the limit, or remove it with XGROUP DESTROY"
	case unread >= h.MaxUnread/5*4:
		text += ", by RELAY_STREAM_MAX_UNREAD: start its readers before it misses something"
	}
	return text
}

func (s status) totals() (pending, parked, unheard int) {
	for _, t := range s.Topics {
		pending, parked, unheard = pending+int(t.Pending), parked+int(t.Parked), unheard+int(t.Unheard)
	}
	return pending, parked, unheard
}

// judge answers status --check.
func (l limits) judge(s status) error {
	var oldest time.Duration
	for _, t := range s.Topics {
		oldest = max(oldest, time.Duration(t.OldestPendingSeconds*float64(time.Second)))
	}
	_, parked, _ := s.totals()
	found := fmt.Errorf("the oldest pending event has waited %v, %d are parked", oldest.Round(time.Second), parked)
	switch {
	case oldest >= l.criticalAge || parked >= l.critParked:
		return exit(2, fmt.Errorf("critical: %w; see: matchrelay status", found))
	case oldest >= l.warnAge && oldest > 0 || parked >= l.warnParked:
		return exit(1, fmt.Errorf("warning: %w; see: matchrelay status", found))
	}
	return nil
}

// byteText writes a number of bytes for people.
func byteText(n int64) string {
	for _, unit := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= unit.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(unit.size), unit.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}
