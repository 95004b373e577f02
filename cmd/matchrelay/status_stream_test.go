package main

import (
	"testing"

	"github.com/stretchr/testify/require"

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
