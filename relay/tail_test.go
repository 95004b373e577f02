package relay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheTailIsWhatADeathOfRedisCouldTake(t *testing.T) {
	for name, c := range map[string]struct {
		all    bool
		window time.Duration
	}{
		"a moment, when all buffers are empty":                   {true, sentWithin},
		"two seconds, where Redis does not tell what is in them": {false, tailWindow},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			var l tail
			require.Zero(t, l.from(), "nothing was published yet")
			l.see(now.Add(-time.Minute), 0, c.all, 0)
			l.alive(now)
			l.add(1, 100, now)
			l.add(11, 100, now.Add(c.window/2))
			require.Equal(t, uint64(1), l.from())
			l.see(now.Add(c.window*3/4), 0, c.all, 0)
			l.alive(now.Add(c.window - 1))
			require.Equal(t, uint64(1), l.from(), "a sign of life so soon proves nothing")
			require.False(t, l.due(now.Add(c.window-1)))
			l.alive(now.Add(c.window))
			require.Equal(t, uint64(11), l.from(), "the first ten are safe")
			l.alive(now.Add(2 * c.window))
			require.Zero(t, l.from(), "and all the others")
		})
	}
}

func TestWhatASlowSubscriberHasStillToReadStaysInTheTail(t *testing.T) {
	now := time.Now()
	at := func(seconds float64) time.Time { return now.Add(time.Duration(seconds * float64(time.Second))) }
	var l tail
	l.add(1, 100, at(0))
	l.alive(at(5))
	require.Equal(t, uint64(1), l.from(), "nobody has looked at the buffers")
	require.True(t, l.due(at(5)))
	l.see(at(5), 1, true, 0)
	require.False(t, l.due(at(5.2)), "not twice in a moment")
	require.True(t, l.due(at(5.25)))
	l.add(11, 100, at(6))
	l.add(21, 100, at(7))
	l.alive(at(10))
	require.Equal(t, uint64(1), l.from(), "what was sent after the look says nothing of it")
	l.see(at(10), 150, true, 0)
	l.alive(at(10))
	require.Equal(t, uint64(11), l.from(), "the latest 150 bytes begin within the second span")
	l.see(at(11), 100, true, 0)
	l.alive(at(11))
	require.Equal(t, uint64(21), l.from())
	l.see(at(12), 0, true, 0)
	l.alive(at(12))
	require.Zero(t, l.from())
	l.add(31, 0, at(13))
	l.alive(at(16))
	require.Equal(t, uint64(31), l.from(), "one of unknown size waits for a look of its own")
	l.see(at(17), 100, true, 0)
	l.alive(at(72))
	require.Equal(t, uint64(31), l.from())
	l.alive(at(73))
	require.Zero(t, l.from(), "nobody is waited for longer than a minute")
}
