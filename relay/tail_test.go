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
	l.add(1, at(0))
	l.add(11, at(1))
	require.Equal(t, uint64(1), l.from())
	require.Equal(t, at(3), l.safe())
	l.alive(at(1.9))
	require.Equal(t, uint64(1), l.from(), "a sign of life within two seconds proves nothing")
	l.alive(at(2))
	require.Equal(t, uint64(11), l.from(), "the first ten are safe")
	l.alive(at(3))
	require.Zero(t, l.from(), "and all the others")
}
