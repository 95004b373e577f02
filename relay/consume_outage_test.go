package relay_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestARedisThatForgetsCostsAReaderNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		forget func(r *reader)
	}{
		{"FLUSHALL, and the relay adds all again", func(r *reader) {
			r.do("FLUSHALL")
			r.add(originA, 1, 2, 3, 4, 5)
		}},
		{"killed, and nothing was on its disk", func(r *reader) {
			r.server.Kill()
			r.server.Start()
			r.add(originA, 1, 2, 3, 4, 5)
		}},
		{"the clock of the new master is behind", func(r *reader) {
			r.do("DEL", newsStream)
			for i := range 5 {
				r.addAs(fmt.Sprintf("1-%d", i+1), originA, i+1, "m")
			}
		}},
		{"the tail is gone", func(r *reader) {
			r.do("XDEL", newsStream, r.store.position().EntryID)
			r.add(originA, 3, 4, 5)
		}},
		{"another event has the ID of the last one", func(r *reader) {
			last := r.store.position().EntryID // a running reader moves on from it
			r.do("DEL", newsStream)
			r.addAs("1-1", originA, 3, "m-3")
			r.addAs("1-2", originA, 4, "m-4")
			r.addAs(last, originA, 5, "m-5")
		}},
		{"what is no event has the ID of the last one", func(r *reader) {
			last := r.store.position().EntryID
			r.do("DEL", newsStream)
			r.addAs("1-1", originA, 4, "m-4")
			r.addAs("1-2", originA, 5, "m-5")
			r.do("XADD", newsStream, last, "user", "x")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, running := range []bool{true, false} {
				t.Run(fmt.Sprint("while it runs: ", running), func(t *testing.T) {
					t.Parallel()
					r := startedReader(t, redistest.Options{})
					r.add(originA, 1, 2, 3)
					r.start()
					r.wait(1, 2, 3)
					eventually(t, "the third one is saved", func() bool { return r.store.position().Sequence == 3 })
					if !running {
						r.halt()
					}
					c.forget(r)
					if !running {
						r.start()
					}
					r.wait(1, 2, 3, 4, 5)
					r.add(originA, 6)
					r.wait(1, 2, 3, 4, 5, 6)
				})
			}
		})
	}
}

func TestAReaderThatComesToALastEntryThatIsNoEventKnowsItAgain(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	r.do("XADD", newsStream, "5-1", "user", "x")
	r.start()
	eventually(t, "it is told", func() bool { return r.log.count("is no event") == 1 })
	r.do("DEL", newsStream)
	r.addAs("4-1", originA, 1, "m-1")
	r.addAs("5-1", originA, 2, "m-2")
	r.wait(1, 2)
}

func TestEventsWithLowerIDsAreNotJumpedOver(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	forgotten := make(chan bool)
	r.opts.Handle = func(ctx context.Context, e relay.StreamEvent) error {
		if e.Sequence == 2 {
			<-forgotten
		}
		return r.handle(ctx, e)
	}
	r.add(originA, 1, 2)
	r.start()
	r.wait(1)
	r.do("DEL", newsStream)
	r.addAs("1-1", originA, 2, "m-2")
	r.addAs("1-2", originA, 3, "m-3")
	r.add(originA, 4) // has a higher ID than the last one that was read: XREAD alone would give this one only
	close(forgotten)
	r.wait(1, 2, 3, 4)
}

func TestALargeEventThatIsNotLookedAtWhileIdleIsLookedAtBeforeTheNextOne(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	args := entryOf("test:news", originA, 1, "m-1", strings.Repeat("x", 32<<20))
	require.NoError(t, r.server.Client().XAdd(context.Background(), args).Err())
	r.start()
	r.wait(1)
	eventually(t, "it was looked at", func() bool { return r.calls("xrange") == 1 })
	_, err := r.server.Client().TxPipelined(context.Background(), func(tx redis.Pipeliner) error {
		tx.Del(context.Background(), newsStream)
		low := entryOf("test:news", originA, 2, "m-2", "{}")
		low.ID = "1-1"
		tx.XAdd(context.Background(), low)
		tx.XAdd(context.Background(), entryOf("test:news", originA, 3, "m-3", "{}"))
		return nil
	})
	require.NoError(t, err)
	r.wait(1, 2, 3)
}

func TestATrimmedStreamIsReadFromWhatIsLeft(t *testing.T) {
	t.Parallel()
	r := startedReader(t, redistest.Options{})
	r.add(originA, 1)
	r.start()
	r.wait(1)
	r.halt()
	r.add(originA, 2, 3, 4, 5)
	r.do("XTRIM", newsStream, "MAXLEN", 2)
	r.opts.OnGap = r.bridge
	r.start()
	r.wait(1, 4, 5)
	require.Equal(t, []relay.Gap{{Topic: "match_updates", Origin: originA, After: 1, Last: 3, Before: 4}}, r.gaps)
	r.do("XTRIM", newsStream, "MAXLEN", 0)
	r.add(originA, 6)
	r.wait(1, 4, 5, 6)
	require.Len(t, r.gaps, 1)
	require.NotZero(t, r.log.count("events that left the stream unread are missing"))
}

func TestARedisThatIsAwayIsWaitedForAndToldOnce(t *testing.T) {
	t.Parallel()
	r := newReader(t, redistest.Options{Persistence: redistest.AOF})
	r.start()
	for n := 1; n <= 3; n++ {
		eventually(t, "it is told", func() bool { return r.log.count("cannot read the stream") == n })
		r.server.Start()
		r.add(originA, n)
		eventually(t, "the end is told", func() bool { return r.log.count("reading the stream again") == n })
		eventually(t, "it goes on", func() bool { return len(r.sequences()) == n })
		r.server.Kill()
	}
	r.halt()
	require.Equal(t, []int{1, 2, 3}, r.sequences())
}

func TestAnAnswerThatComesTooLateOrNotAtAll(t *testing.T) {
	t.Parallel()
	t.Run("frozen", func(t *testing.T) {
		t.Parallel()
		r := startedReader(t, redistest.Options{})
		r.opts.Timeout = time.Second
		r.start()
		r.add(originA, 1)
		r.wait(1)
		r.server.Freeze()
		eventually(t, "it is told", func() bool { return r.log.count("raise ConsumeOptions.Timeout") > 0 })
		r.server.Thaw()
		r.add(originA, 2, 3, 4)
		r.wait(1, 2, 3, 4)
		r.halt()
		require.Equal(t, r.log.count("cannot read the stream"), r.log.count("reading the stream again"), "each outage is told once")
	})
	t.Run("cut off", func(t *testing.T) {
		t.Parallel()
		r := startedReader(t, redistest.Options{})
		proxy := redistest.NewProxy(t, r.server.Addr())
		r.startAt(relay.ClientOptions{Addrs: []string{proxy.Addr()}})
		r.add(originA, 1)
		r.wait(1)
		proxy.CutReplies()
		r.add(originA, 2, 3)
		eventually(t, "it is told", func() bool { return r.log.count("cannot read the stream") == 1 })
		proxy.Heal()
		r.wait(1, 2, 3)
	})
}

func TestWhatAnOperatorMustMendIsTold(t *testing.T) {
	t.Parallel()
	t.Run("another type has the key", func(t *testing.T) {
		t.Parallel()
		r := startedReader(t, redistest.Options{})
		r.do("SET", newsStream, "x")
		r.start()
		eventually(t, "it is told", func() bool { return r.log.count("the key of the stream is something else") == 1 })
		r.do("DEL", newsStream)
		r.add(originA, 1)
		r.wait(1)
		require.Zero(t, r.log.count("matchrelay:*"), "that is the relay's mend")
	})
	t.Run("a login that is refused", func(t *testing.T) {
		t.Parallel()
		r := startedReader(t, redistest.Options{Config: []string{"requirepass secret"}})
		r.startAt(relay.ClientOptions{Addrs: []string{r.server.Addr()}, Password: "guess"})
		eventually(t, "it is told", func() bool { return r.log.count("correct REDIS_USERNAME and REDIS_PASSWORD") == 1 })
		r.halt()
		require.Zero(t, r.log.count("secret")+r.log.count("guess"))
	})
	t.Run("a command that is renamed", func(t *testing.T) {
		t.Parallel()
		r := startedReader(t, redistest.Options{Config: []string{`rename-command XREAD ""`}})
		r.start()
		eventually(t, "it is told", func() bool { return r.log.count("a reader needs XREAD and XRANGE") == 1 })
	})
}

// leastReader are the rights of a reader without which nothing works.
var leastReader = []any{"reset", "on", ">pw", "~" + newsStream, "-@all", "+hello", "+xread", "+xrange"}

func TestAReaderWithTheLeastRights(t *testing.T) {
	t.Parallel()
	login := func(r *reader) relay.ClientOptions {
		return relay.ClientOptions{Addrs: []string{r.server.Addr()}, Username: "reader", Password: "pw"}
	}
	t.Run("reads", func(t *testing.T) {
		t.Parallel()
		r := startedReader(t, redistest.Options{})
		r.do(append([]any{"ACL", "SETUSER", "reader"}, leastReader...)...)
		r.startAt(login(r))
		r.add(originA, 1, 2)
		r.wait(1, 2)
		r.do("FLUSHALL")
		r.add(originA, 2, 3)
		r.wait(1, 2, 3)
		r.halt()
		require.Zero(t, r.log.count("cannot read"))
	})
	for i, right := range leastReader {
		name := right.(string)
		if !strings.HasPrefix(name, "+x") && !strings.HasPrefix(name, "~") { // older clients log in with AUTH alone
			continue
		}
		t.Run("and needs "+name, func(t *testing.T) {
			t.Parallel()
			r := startedReader(t, redistest.Options{})
			without := append(append([]any{"ACL", "SETUSER", "reader"}, leastReader[:i]...), leastReader[i+1:]...)
			r.do(without...)
			r.add(originA, 1)
			r.startAt(login(r))
			eventually(t, "it is told", func() bool {
				return r.log.count("give the Redis user these rights: ~"+newsStream+" +hello +xread +xrange") == 1
			})
		})
	}
}

// A Cluster of two nodes that knows where the slot of the stream is only from the answers of its nodes.
func TestAReaderFollowsAStreamThroughACluster(t *testing.T) {
	t.Parallel()
	cluster := func(busPort int) redistest.Options {
		return redistest.Options{Config: []string{"cluster-enabled yes", "cluster-require-full-coverage no", fmt.Sprint("cluster-port ", busPort)}}
	}
	bus := busPort(t)
	r := startedReader(t, cluster(busPort(t)))
	other := redistest.Start(t, cluster(bus))
	slot, err := r.server.Client().ClusterKeySlot(context.Background(), newsStream).Result()
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(other.Addr())
	require.NoError(t, err)
	r.do("CLUSTER", "MEET", "127.0.0.1", port, bus)
	r.do("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
	id := func(s *redistest.Server) string {
		text, err := s.Client().Do(context.Background(), "CLUSTER", "MYID").Text()
		require.NoError(t, err)
		return text
	}
	for _, s := range []*redistest.Server{r.server, other} {
		eventually(t, "the nodes know each other", func() bool {
			nodes := s.Client().ClusterNodes(context.Background()).Val()
			return strings.Contains(nodes, id(r.server)) && strings.Contains(nodes, id(other)) && strings.Contains(nodes, "0-16383") &&
				strings.Contains(s.Client().ClusterInfo(context.Background()).Val(), "cluster_state:ok")
		})
	}
	r.add(originA, 1, 2)
	r.startAt(relay.ClientOptions{Addrs: []string{r.server.Addr(), other.Addr()}})
	r.wait(1, 2)

	require.NoError(t, other.Client().Do(context.Background(), "CLUSTER", "SETSLOT", slot, "IMPORTING", id(r.server)).Err())
	r.do("CLUSTER", "SETSLOT", slot, "MIGRATING", id(other))
	r.do("MIGRATE", "127.0.0.1", port, newsStream, 0, 60_000)
	require.NoError(t, other.Client().Do(context.Background(), "CLUSTER", "SETSLOT", slot, "NODE", id(other)).Err())
	r.do("CLUSTER", "SETSLOT", slot, "NODE", id(other))
	args := entryOf("test:news", originA, 3, "m-3", "{}")
	require.NoError(t, other.Client().XAdd(context.Background(), args).Err())
	r.wait(1, 2, 3)
	r.halt()
	require.Zero(t, r.log.count("does not hold"))
}

// busPort is free, and below those that the kernel gives to outgoing connections and redistest to its servers.
func busPort(t *testing.T) int {
	for range 100 {
		port := 10000 + rand.IntN(5000)
		if l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			require.NoError(t, l.Close())
			return port
		}
	}
	t.Fatal("no free port between 10000 and 15000")
	return 0
}
