package relay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheTailIsWhatADeathOfRedisCouldTake(t *testing.T) {
	now := time.Now()
	at := func(seconds float64) time.Time { return now.Add(time.Duration(seconds * float64(time.Second))) }
	var l tail
	require.Zero(t, l.from(), "nothing was published yet")
	l.alive(at(0))
	l.add(1, 100, at(0))
	l.add(11, 100, at(1))
	require.Equal(t, uint64(1), l.from())
	l.see(at(1.5), 0)
	l.alive(at(1.9))
	require.Equal(t, uint64(1), l.from(), "a sign of life within two seconds proves nothing")
	require.False(t, l.due(at(1.9)))
	l.alive(at(2))
	require.Equal(t, uint64(11), l.from(), "the first ten are safe")
	l.alive(at(3))
	require.Zero(t, l.from(), "and all the others")
}

func TestWhatASlowSubscriberHasStillToReadStaysInTheTail(t *testing.T) {
	now := time.Now()
	at := func(seconds float64) time.Time { return now.Add(time.Duration(seconds * float64(time.Second))) }
	var l tail
	l.add(1, 100, at(0))
	l.alive(at(5))
	require.Equal(t, uint64(1), l.from(), "nobody has looked at the buffers")
	require.True(t, l.due(at(5)))
	l.see(at(5), 1)
	require.False(t, l.due(at(5.9)), "not twice in a second")
	require.True(t, l.due(at(6)))
	l.add(11, 100, at(6))
	l.add(21, 100, at(7))
	l.alive(at(10))
	require.Equal(t, uint64(1), l.from(), "what was sent after the look says nothing of it")
	l.see(at(10), 150)
	l.alive(at(10))
	require.Equal(t, uint64(11), l.from(), "the latest 150 bytes begin within the second span")
	l.see(at(11), 100)
	l.alive(at(11))
	require.Equal(t, uint64(21), l.from())
	l.see(at(12), 0)
	l.alive(at(12))
	require.Zero(t, l.from())
	l.add(31, 0, at(13))
	l.alive(at(16))
	require.Equal(t, uint64(31), l.from(), "one of unknown size waits for a look of its own")
	l.see(at(17), 100)
	l.alive(at(72))
	require.Equal(t, uint64(31), l.from())
	l.alive(at(73))
	require.Zero(t, l.from(), "nobody is waited for longer than a minute")
}
