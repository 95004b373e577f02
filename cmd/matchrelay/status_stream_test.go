package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestStatus_SaysHowFarTheSlowestReaderOfAStreamIsBehind(t *testing.T) {
	for want, h := range map[string]relay.StreamHealth{
		"calendar is 1m30s behind, with 40 to read":      {Slowest: "calendar", Behind: 90.2, Lag: 40},
		"calendar is 0s behind":                          {Slowest: "calendar", Lag: -1},
		"calendar has read nothing yet, with 40 to read": {Slowest: "calendar", Behind: -1, Lag: 40},
	} {
		require.Equal(t, want, behindText(h))
	}
}

func TestStatus_NamesTheLimitOfAStreamToAReaderThatComesNearIt(t *testing.T) {
	const kept, near, over = "about 1000 are kept for it", "start its readers before it misses something", "what it does not read now is lost to it"
	cfg := &config.Config{}
	cfg.Processor.Location = time.UTC
	for _, c := range []struct {
		h    relay.StreamHealth
		want string
	}{
		{relay.StreamHealth{Entries: 1000, Lag: 799, Behind: 60}, ""},
		{relay.StreamHealth{Entries: 1000, Lag: 800, Behind: 60}, near},
		{relay.StreamHealth{Entries: 1010, Lag: 999, Behind: -1}, near},
		{relay.StreamHealth{Entries: 1010, Lag: 1000, Behind: 60}, over},
		{relay.StreamHealth{Entries: 799, Lag: -1, Behind: 60}, ""},
		{relay.StreamHealth{Entries: 800, Lag: -1, Behind: 60}, near},
		{relay.StreamHealth{Entries: 1000, Lag: -1, Behind: -1}, over},
		{relay.StreamHealth{Entries: 1000, Lag: -1}, ""}, // it has read the newest
	} {
		c.h.Slowest, c.h.MaxUnread = "calendar", 1000
		var out strings.Builder
		writeStatus(&out, status{Live: true, Topics: []topicStatus{{Topic: "match_updates", Stream: &c.h}}}, cfg)
		_, line, found := strings.Cut(out.String(), "stream of match_updates: ")
		require.True(t, found)
		require.Contains(t, line, kept)
		require.Equal(t, c.want != "", strings.Contains(line, "RELAY_STREAM_MAX_UNREAD"), line)
		require.Contains(t, line, c.want)
	}
}
