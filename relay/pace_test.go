package relay

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func TestPace_FollowsTheSizeOfEntriesAndHowManyThereAre(t *testing.T) {
	t.Parallel()
	p := newPace()
	reply := func(n, bytes int) []redis.XMessage {
		entries := make([]redis.XMessage, n)
		for i := range entries {
			entries[i].Values = map[string]any{"data": strings.Repeat("x", bytes)}
		}
		return entries
	}
	for _, step := range []struct {
		name       string
		n, bytes   int
		count      int
		atTheEnd   bool
		afterError bool
	}{
		{name: "a full reply of small entries", n: 4, bytes: 1000, count: 8},
		{name: "and another", n: 8, bytes: 1000, count: 16},
		{name: "a short one is the end", n: 3, bytes: 1000, count: 16, atTheEnd: true},
		{name: "large entries", n: 16, bytes: 1 << 20, count: 8},
		{name: "larger ones", n: 8, bytes: 5 << 20, count: 1},
		{name: "small ones again, carefully", n: 1, bytes: 1000, count: 2},
		{name: "more carefully than they would need", n: 2, bytes: 1000, count: 4},
		{name: "after a failure", n: 1, bytes: 1000, count: 2, afterError: true},
		{name: "none", n: 0, count: 2, atTheEnd: true},
	} {
		if step.afterError {
			p.count = 1
		}
		p.see(reply(step.n, step.bytes))
		require.Equal(t, step.count, p.count, step.name)
		require.Equal(t, step.atTheEnd, p.atEnd, step.name)
	}
	for range 20 {
		p.see(reply(p.count, 10))
	}
	require.Equal(t, mostCount, p.count, "and never more than that")
}
