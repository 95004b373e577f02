package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
)

// selection are the flags that choose events.
type selection struct {
	topic, match, state, since, until, sequences, failure string
	after                                                 uint64
	limit                                                 int
}

func (s *selection) addTo(flags *pflag.FlagSet) {
	s.addTopic(flags)
	flags.StringVar(&s.state, "state", "", "only pending, held, delivered, unheard, parked, discarded or replayed ones")
	flags.StringVar(&s.since, "since", "", "appended since a time (2025-09-21T10:30:00Z, 2025-09-21) or for a duration (2h)")
	flags.StringVar(&s.until, "until", "", "appended before a time, or longer ago than a duration")
	flags.StringVar(&s.sequences, "seq", "", "only these sequences: 42, 40..45, 40.. or ..45")
	flags.StringVar(&s.failure, "error", "", "only parked events whose error contains this text")
	flags.IntVar(&s.limit, "limit", 0, "at most so many (default: all); when there are more, it says how to go on")
	flags.Uint64Var(&s.after, "after", 0, "only those behind this sequence: the next page")
}

// addTopic adds the flags that make sense for events that are yet to come.
func (s *selection) addTopic(flags *pflag.FlagSet) {
	flags.StringVar(&s.topic, "topic", "", "only this topic: match_updates, processing_status or system_alert")
	flags.StringVar(&s.match, "match", "", "only match updates that tell of changes of the match with this id")
}

// empty says whether nothing was chosen: a page of everything is no choice.
func (s *selection) empty() bool { return *s == selection{limit: s.limit, after: s.after} }

// text writes the selection as flags, for the audit log.
func (s *selection) text() string {
	var words []string
	for _, flag := range []struct{ name, value string }{{"topic", s.topic}, {"match", s.match}, {"state", s.state}, {"since", s.since},
		{"until", s.until}, {"seq", s.sequences}, {"error", s.failure}, {"after", number(s.after)}, {"limit", number(uint64(s.limit))}} {
		if flag.value != "" {
			words = append(words, "--"+flag.name+" "+flag.value)
		}
	}
	return strings.Join(words, " ")
}

// number is "" for 0.
func number(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

// states that can be asked for.
var states = []outbox.State{outbox.Pending, outbox.Held, outbox.Delivered, outbox.Unheard, outbox.Parked, outbox.Discarded, outbox.Replayed}

// choice checks the flags. Errors name the flag and what it takes.
func (s *selection) choice(cfg *config.Config, now time.Time) (choice, error) {
	c := choice{Filter: outbox.Filter{Topic: s.topic, State: outbox.State(s.state), Error: s.failure, Limit: s.limit}, match: s.match}
	var err error
	if s.topic != "" && !slices.Contains(config.Topics, s.topic) {
		return c, usageError(fmt.Errorf("--topic: expected one of %v", config.Topics))
	}
	if s.match != "" {
		if s.topic != "" && s.topic != schema.TypeMatchUpdates {
			return c, usageError(fmt.Errorf("--match: only %s events tell of matches, not --topic %s", schema.TypeMatchUpdates, s.topic))
		}
		c.Topic = schema.TypeMatchUpdates
	}
	if s.state != "" && !slices.Contains(states, c.State) {
		return c, usageError(fmt.Errorf("--state: expected one of %v", states))
	}
	if s.limit < 0 {
		return c, usageError(fmt.Errorf("--limit: expected 0 (all) or more"))
	}
	if c.Since, err = parseTime("--since", s.since, cfg.Processor.Location, now); err != nil {
		return c, err
	}
	if c.Until, err = parseTime("--until", s.until, cfg.Processor.Location, now); err != nil {
		return c, err
	}
	c.After, c.Through, err = parseSequences(s.sequences)
	c.single = c.Through != 0 && c.Through == c.After+1
	c.After = max(c.After, s.after)
	return c, err
}

// parseTime reads a time, a day, or a duration before now; "" is the zero time.
func parseTime(flag, text string, zone *time.Location, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, zone); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usageError(fmt.Errorf("%s: expected a time such as 2025-09-21T10:30:00Z or 2025-09-21, or a duration such as 2h", flag))
}

// parseSequences reads 42, 40..45, 40.. or ..45: only those above after, and up to through (0 = no end).
func parseSequences(text string) (after, through uint64, err error) {
	if text == "" {
		return 0, 0, nil
	}
	from, to, isRange := strings.Cut(text, "..")
	if !isRange {
		to = from
	}
	first, last := uint64(1), uint64(0)
	if from != "" {
		first, err = strconv.ParseUint(from, 10, 64)
	}
	if to != "" && err == nil {
		last, err = strconv.ParseUint(to, 10, 64)
	}
	if err != nil || first == 0 || from+to == "" || to != "" && last < first {
		return 0, 0, usageError(fmt.Errorf("--seq: expected 42, 40..45, 40.. or ..45, counted from 1"))
	}
	return first - 1, last, nil
}
