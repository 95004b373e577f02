package relay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTail_CountsASignOfLifeFromWhenItWasAskedFor(t *testing.T) {
	l := New(nil, nil, Options{Channels: map[string]string{"news": "test:news"}}).lanes[0]
	l.progress.Run = "run"
	accepted := time.Now().Add(-time.Hour)
	l.tail.add(1, 100, accepted)
	l.tail.see(accepted.Add(time.Millisecond), 0, true, 0)
	l.heard(Reply{Run: "run"}, accepted.Add(sentWithin-1))
	require.Equal(t, uint64(1), l.tail.from(), "Redis may have answered at once, and died a moment later; its answer took an hour")
	l.heard(Reply{Run: "another"}, accepted.Add(sentWithin))
	require.Equal(t, uint64(1), l.tail.from(), "another process lives")
	l.heard(Reply{Run: "run"}, accepted.Add(sentWithin))
	require.Zero(t, l.tail.from())
}
