package relay_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

// trimming are options of a stream that keeps about 100 entries, and 1000 that have still to be read.
func trimming() relay.Options {
	opts := streaming()
	opts.StreamMaxLen, opts.StreamMaxUnread = 100, 1000
	return opts
}

// withGroups is a rig whose relay trims, with one event in its stream and two consumer groups: slow has
// still to read it, prompt has not.
func withGroups(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	r.start(trimming())
	r.add("news", 1)
	r.waitDelivered("news")
	r.do("XGROUP", "CREATE", newsStream, "slow", 0)
	r.do("XGROUP", "CREATE", newsStream, "prompt", "$")
	return r
}

// A relay trims before it adds a batch, of 200 events at most, and Redis whole nodes of 100.
const trimmingSlack = 300

// length waits until everything is delivered, and returns how many entries the stream has.
func (r *rig) length() int {
	r.t.Helper()
	r.waitDelivered("news")
	return int(r.server.Client().XLen(context.Background(), newsStream).Val())
}

// take reads entries as a worker of a group, and acknowledges all but some.
func (r *rig) take(group string, n, left int) {
	r.t.Helper()
	streams, err := r.server.Client().XReadGroup(context.Background(), &redis.XReadGroupArgs{Group: group, Consumer: "worker",
		Streams: []string{newsStream, ">"}, Count: int64(n), Block: -1}).Result()
	require.NoError(r.t, err)
	require.Len(r.t, streams[0].Messages, n)
	for _, m := range streams[0].Messages[left:] {
		r.do("XACK", newsStream, group, m.ID)
	}
}

func TestTrimming_LeavesWhatAGroupHasStillToRead(t *testing.T) {
	t.Parallel()
	r := withGroups(t)
	r.addMany("news", 700)
	require.Equal(t, 701, r.length())
	r.take("slow", 600, 1)
	r.take("prompt", 700, 0)
	r.addMany("news", 100)
	require.Equal(t, 801, r.length(), "the first is not acknowledged yet")
	entries := r.entries() // before a guard of the relay trims them
	r.do("XACK", newsStream, "slow", entries[0].ID)
	next := entries[600].ID
	for range 10 {
		r.add("news", 1)
	}
	require.Less(t, r.length(), 811-600+trimmingSlack)
	require.Len(t, r.server.Client().XRange(context.Background(), newsStream, next, next).Val(), 1, "which it reads next")
	r.take("slow", 211, 0)
	r.take("prompt", 110, 0)
	for range 10 {
		r.add("news", 1)
	}
	require.Less(t, r.length(), 100+trimmingSlack)
	require.GreaterOrEqual(t, r.length(), 100)
}

func TestTrimming_LeavesNoMoreThanTheCapForAGroupThatWasAbandoned(t *testing.T) {
	t.Parallel()
	r := withGroups(t) // and slow never reads
	r.addMany("news", 3000)
	require.Less(t, r.length(), 1000+trimmingSlack)
	require.GreaterOrEqual(t, r.length(), 1000)
}

func TestTrimming_IsAsWithoutGroupsWhereRedisDoesNotTell(t *testing.T) {
	t.Parallel()
	for _, right := range []string{"xlen", "xinfo", "xpending", "xtrim"} {
		t.Run(right, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{})
			r.server.Start()
			r.start(trimming())
			r.add("news", 5)
			r.waitDelivered("news")
			r.do("XGROUP", "CREATE", newsStream, "a group", 0)
			r.take("a group", 5, 5)
			r.do("ACL", "SETUSER", "default", "-"+right)
			r.addMany("news", 900)
			r.waitDelivered("news")
			r.do("ACL", "SETUSER", "default", "+"+right)
			require.Less(t, r.length(), 100+trimmingSlack)
		})
	}
}

func TestTrimming_LeavesWhatAGroupHasStillToReadWhenEventsAreAddedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	opts := trimming()
	opts.StreamMaxLen = 500
	r.start(opts)
	r.add("news", 1)
	r.waitDelivered("news")
	r.do("XGROUP", "CREATE", newsStream, "a group", 0)
	r.addMany("news", 700)
	require.Equal(t, 701, r.length())
	r.rewind(400)
	r.add("news", 1)
	require.Equal(t, 702, r.length())
	r.requireStream(r.news())
}

func TestReaderName_KeepsWhatItHasStillToRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	c := r.consuming()
	c.opts.Name = "calendar"
	c.start()
	r.start(trimming())
	r.add("news", 3)
	c.waitFor(r.news())
	c.halt()
	r.addMany("news", 800)
	require.Equal(t, 803, r.length())
	r.do("FLUSHALL") // which forgets the group as well
	eventually(t, "what the stream keeps is added again", func() bool { return len(r.entries()) >= 100 })
	c.opts.OnGap = c.bridge
	c.start()
	r.add("news", 1)
	c.waitFor(r.news()[803:])
	c.halt()
	require.Len(t, c.gaps, 1)
	r.addMany("news", 800)
	require.GreaterOrEqual(t, r.length(), 800, "the group is there again")
	c.opts.OnGap = nil
	c.start()
	c.waitFor(r.news()[803:])
	for range 10 {
		r.add("news", 1)
	}
	c.waitFor(r.news()[803:])
	c.halt()
	r.add("news", 1)
	require.Less(t, r.length(), 100+trimmingSlack, "all was read")
	require.Zero(t, c.log.count("cannot let the relay know"))
}

func TestReaderName_WithoutTheRightIsToldOnce(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	r.do(append([]any{"ACL", "SETUSER", "reader"}, leastReader...)...)
	r.opts.Name = "calendar"
	r.startAt(relay.ClientOptions{Addrs: []string{r.server.Addr()}, Username: "reader", Password: "pw"})
	r.add(originA, 1)
	r.wait(1)
	r.add(originA, 2)
	r.wait(1, 2)
	r.halt()
	require.Equal(t, 1, r.log.count("+xgroup|create +xgroup|setid"))
}

func TestReaderName_MovesItsGroupWithThePosition(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	r.opts.Name = "calendar"
	r.start() // there is no stream yet, and it makes none
	require.Zero(t, r.server.Client().Exists(context.Background(), newsStream).Val())
	for n := range 3 {
		r.add(originA, n+1)
		eventually(t, fmt.Sprint("the group stands at ", n+1), func() bool {
			groups, err := r.server.Client().XInfoGroups(context.Background(), newsStream).Result()
			return err == nil && len(groups) == 1 && groups[0].Name == "calendar" && groups[0].LastDeliveredID == r.entryOf(n+1)
		})
	}
}
