package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
)

func TestDoctorComparesTheMarksOfStreams(t *testing.T) {
	const on, off, stream = "RELAY_STREAMS=on", "RELAY_STREAMS=off", "{fogis:matches:updates}:stream"
	c := newClinic(t, redistest.Options{})
	set := func(streams string) { c.env = append(c.env, streams) }
	set(off)
	c.ingestAndDeliver(`[{"matchid":1}]`)
	c.expect("marks", checkOK, "match_updates #1", "", on) // its stream begins with the next event
	set(on)
	c.ingestAndDeliver(`[{"matchid":1},{"matchid":2}]`)
	c.expect("marks", checkOK, "match_updates #2", "", on)

	set(off)
	c.ingestAndDeliver(`[{"matchid":1},{"matchid":2},{"matchid":3}]`)
	c.expect("marks", checkOK, "match_updates #3", "", off)
	c.expect("marks", checkWarn, "its stream has #2 and nothing since, to #3", "keep RELAY_STREAMS on", on)

	c.redis("DEL", stream)
	c.expect("marks", checkOK, "match_updates #3", "", off)
	c.expect("marks", checkWarn, "match_updates: its stream is gone, the relay adds again", "who deletes the stream", on)
	set(on)
	c.do("relay", "--until-empty")
	entries, err := c.server.Client().XLen(t.Context(), stream).Result()
	require.NoError(t, err)
	require.Equal(t, int64(3), entries, "as it said")
	c.expect("marks", checkOK, "match_updates #3", "", on)

	c.redis("FLUSHALL")
	c.expect("marks", checkWarn, "Redis has forgotten, the relay will restore it", "persistence", on)
}

func TestDoctorWarnsOfAGroupForWhichAStreamKeepsAllThatItMay(t *testing.T) {
	const stream = "{fogis:matches:updates}:stream"
	c := newClinic(t, redistest.Options{})
	c.env = append(c.env, "RELAY_STREAMS=on", "RELAY_STREAM_MAXLEN=1", "RELAY_STREAM_MAX_UNREAD=2")
	c.ingestAndDeliver(`[{"matchid":1}]`)
	c.redis("XGROUP", "CREATE", stream, "calendar", "0")
	c.expect("marks", checkOK, "match_updates #1", "")
	c.ingestAndDeliver(`[{"matchid":1},{"matchid":2}]`)
	c.expect("marks", checkWarn, "the consumer group or reader calendar has still to read them", "XGROUP DESTROY "+stream)
}
