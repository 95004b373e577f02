package relay_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestTheWaitForSubscribersGoesOnThroughHiccupsOfTheNetwork(t *testing.T) {
	for name, away := range map[string]time.Duration{"short ones": 0, "as long as the network is well": 500 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			virtually(t, func(v virtual) {
				opts := quick()
				opts.RejoinWait = time.Second
				v.redis.subscribers(2)
				v.run(opts)
				v.add("news", 3)
				v.after(0)
				v.redis.kill()
				v.redis.subscribers(1)
				v.redis.start()
				v.add("news", 1)
				v.after(0)
				for hiccup := 0; v.pending() > 0; hiccup++ {
					require.Less(t, hiccup, 20, "the wait begins anew each time")
					require.Equal(t, relay.Waiting, v.state())
					v.after(400 * time.Millisecond) // the network is well for a while, shorter than the wait
					if v.pending() == 0 {
						break
					}
					v.redis.cut()
					v.after(250 * time.Millisecond)
					require.Equal(t, relay.RedisDown, v.state())
					v.after(away)
					v.redis.heal()
					v.after(200 * time.Millisecond)
				}
				v.requireGot(v.appended[:3])
			})
		})
	}
}

func TestALongOutageGivesSubscribersTheirTimeAgain(t *testing.T) {
	virtually(t, func(v virtual) {
		opts := quick()
		opts.RejoinWait = 5 * time.Second
		v.redis.subscribers(2)
		v.run(opts)
		v.add("news", 3)
		v.after(time.Minute)
		v.redis.kill()
		v.redis.subscribers(1)
		v.redis.start()
		v.add("news", 1)
		v.after(3500 * time.Millisecond) // most of the wait
		require.Equal(t, relay.Waiting, v.state())
		v.redis.cut()
		v.redis.subscribers(0)
		v.after(5 * time.Second)
		v.redis.heal()
		v.after(2500 * time.Millisecond) // more than was left of the wait
		require.Equal(t, relay.Waiting, v.state())
		require.Equal(t, 1, v.pending())
		v.redis.subscribers(1)
		v.after(5 * time.Second)
		require.Zero(t, v.pending())
		require.Zero(t, v.topic("news").Unheard, "it waited for the one that is back")
		v.requireGot(nil)
	})
}

func TestASubscriberThatNeverComesBackIsWaitedForOnce(t *testing.T) {
	virtually(t, func(v virtual) {
		opts := quick()
		opts.RejoinWait = time.Minute
		v.redis.subscribers(2)
		v.run(opts)
		v.add("news", 5)
		v.after(0)
		v.redis.subscribers(1)
		v.redis.kill()
		v.redis.start()
		v.add("news", 5)
		v.after(time.Minute - soon)
		require.Equal(t, relay.Waiting, v.state())
		require.Len(t, v.redis.got("news"), 5)
		v.after(2 * soon)
		require.Zero(t, v.pending())
		require.Len(t, v.redis.got("news"), 15, "the first five came again")
		require.Equal(t, 1, v.topic("news").Progress.Receivers)
		v.redis.kill()
		v.redis.start()
		v.add("news", 5)
		v.after(soon)
		require.Zero(t, v.pending(), "and then no more")
		v.requireGot(v.appended[:10])
	})
}

func TestTheWaitForSubscribersComesOnceEvenWithAFreshOrigin(t *testing.T) {
	virtually(t, func(v virtual) {
		opts := quick()
		opts.RejoinWait = time.Minute
		v.redis.subscribers(2)
		v.run(opts)
		v.add("news", 1)
		v.after(0)
		v.redis.kill()
		v.redis.subscribers(1)
		v.add("news", 1)
		v.after(soon)
		require.Equal(t, relay.RedisDown, v.state())
		v.redis.change(func() { // the file goes on elsewhere
			v.redis.marks[relay.MarkKey("test:news", v.origin())] = outbox.Mark{Sequence: 77, MessageID: "another"}
		})
		v.redis.start()
		v.after(soon)
		require.Equal(t, relay.Waiting, v.state())
		v.after(time.Minute)
		require.Zero(t, v.pending())
		require.Contains(t, v.alertKinds(), "outbox_rolled_back")
	})
}

func TestRelayRejoin_WaitsForFormerSubscribersWhenARelayBegins(t *testing.T) {
	for name, back := range map[string]int{"and they come": 2, "and some never come": 1} {
		t.Run(name, func(t *testing.T) {
			virtually(t, func(v virtual) {
				opts := quick()
				opts.RejoinWait = time.Minute
				v.redis.subscribers(2)
				v.run(opts)
				v.add("news", 1)
				v.after(time.Minute)
				v.halt()
				v.redis.subscribers(1)
				v.add("news", 1)
				v.run(opts)
				v.after(30 * time.Second)
				require.Equal(t, relay.Waiting, v.state())
				require.Equal(t, 1, v.pending())
				v.redis.subscribers(back)
				v.after(time.Minute)
				require.Zero(t, v.pending())
				require.Equal(t, back, v.topic("news").Progress.Receivers)
				v.requireGot(nil)
				v.halt()
				v.add("news", 1)
				v.run(opts)
				v.after(soon)
				require.Zero(t, v.pending(), "those who stayed away are not waited for again")
			})
		})
	}
}

// Redis may have died with what it has forgotten, also where it does not tell which process it is.
func TestRelayRejoin_WaitsForFormerSubscribersAfterAnAmnesia(t *testing.T) {
	virtually(t, func(v virtual) {
		opts := quick()
		opts.RejoinWait = time.Minute
		v.redis.change(func() { v.redis.untold = true })
		v.redis.subscribers(2)
		v.run(opts)
		v.add("news", 1)
		v.after(2 * time.Minute)
		require.Zero(t, v.pending())
		v.redis.change(func() { v.redis.receivers = 0; clear(v.redis.marks) })
		v.add("news", 1)
		v.after(30 * time.Second)
		require.Equal(t, relay.Waiting, v.state())
		require.Equal(t, 1, v.pending())
		v.redis.subscribers(2)
		v.after(soon)
		require.Zero(t, v.pending())
		require.Zero(t, v.topic("news").Unheard)
		v.requireGot(nil)
	})
}

// A relay that begins after both have died knows by it what to publish again.
func TestRelay_StoresTheRunThatRedisTellsLate(t *testing.T) {
	virtually(t, func(v virtual) {
		v.redis.change(func() { v.redis.untold = true })
		v.run(quick())
		v.add("news", 1)
		v.after(time.Minute)
		require.Empty(t, v.topic("news").Progress.Run)
		v.redis.change(func() { v.redis.untold = false })
		v.after(time.Minute)
		require.Equal(t, "0", v.topic("news").Progress.Run, "the topic is idle since then")
		v.halt()
	})
}

func TestAHeldTopicOutlivesADeathOfRedis(t *testing.T) {
	virtually(t, func(v virtual) {
		opts := quick()
		opts.MinReceivers = map[string]int{"news": 1}
		opts.HoldMax = time.Minute
		v.redis.subscribers(0)
		v.add("news", 5)
		v.run(opts)
		for range 2 {
			v.after(time.Minute - soon)
			require.Equal(t, relay.Held, v.state())
			v.redis.kill()
			v.after(soon)
			require.Equal(t, relay.RedisDown, v.state())
			v.redis.start()
			v.after(soon)
			require.Equal(t, relay.Held, v.state())
		}
		v.after(time.Minute - 2*soon)
		require.Equal(t, 5, v.pending(), "HoldMax counts on a reachable Redis")
		v.after(2 * soon)
		require.Zero(t, v.pending())
		require.Equal(t, uint64(5), v.topic("news").Unheard)
		v.redis.subscribers(1)
		v.add("news", 5)
		v.after(soon)
		v.requireGot(nil)
	})
}

func TestWhatWasDeliveredBeforeATopicIsHeldDoesNotComeAgain(t *testing.T) {
	virtually(t, func(v virtual) {
		opts := quick()
		opts.MinReceivers = map[string]int{"news": 1}
		opts.RejoinWait = time.Millisecond
		v.run(opts)
		v.add("news", 3)
		v.after(0)
		require.NotZero(t, v.topic("news").Progress.TailFrom)
		v.redis.subscribers(0)
		v.add("news", 1)
		v.after(0)
		require.Equal(t, relay.Held, v.state())
		v.after(4 * time.Second)
		require.Zero(t, v.topic("news").Progress.TailFrom, "Redis has outlived what it was given, and the file knows")
		v.halt()
		v.redis.kill()
		v.redis.start()
		v.run(opts)
		v.redis.subscribers(1)
		v.after(soon)
		require.Zero(t, v.pending())
		v.requireGot(nil)
	})
}

// diesAndLosesItsSubscriber kills a Redis that has delivered three events of news a moment ago; the one that is started in its
// place has no subscribers, and the wait for them is over.
func diesAndLosesItsSubscriber(v virtual, opts relay.Options) {
	v.run(opts)
	v.add("news", 3)
	v.after(0)
	v.requireGot(nil)
	v.redis.kill()
	v.redis.subscribers(0)
	v.redis.start()
	v.after(relay.DefaultRejoinWait + time.Minute)
}

func TestTail_IsHeldForTheSubscribersThatTheTopicRequires(t *testing.T) {
	virtually(t, func(v virtual) {
		opts := quick()
		opts.MinReceivers = map[string]int{"news": 1}
		diesAndLosesItsSubscriber(v, opts)
		require.Equal(t, relay.Held, v.state())
		v.after(time.Hour)
		require.Equal(t, relay.Held, v.state())
		v.requireGot(nil)
		v.add("news", 1)
		v.after(time.Minute)
		v.redis.subscribers(1)
		v.after(soon)
		require.Equal(t, relay.Delivering, v.state())
		require.Len(t, v.redis.got("news"), 7, "three twice, and the one that came later")
		v.requireGot(v.appended[:3])
		require.Zero(t, v.topic("news").Unheard)
	})
}

func TestTail_HeldOutlivesTheRelayAndAnotherDeathOfRedis(t *testing.T) {
	virtually(t, func(v virtual) {
		opts := quick()
		opts.MinReceivers = map[string]int{"news": 1}
		diesAndLosesItsSubscriber(v, opts)
		v.halt()
		v.run(opts)
		v.after(2 * time.Minute)
		require.Equal(t, relay.Held, v.state())
		v.redis.kill()
		v.after(soon)
		require.Equal(t, relay.RedisDown, v.state())
		v.redis.start()
		v.after(2 * time.Minute)
		require.Equal(t, relay.Held, v.state())
		v.redis.subscribers(1)
		v.after(soon)
		require.Len(t, v.redis.got("news"), 6)
		v.requireGot(v.appended[:3])
	})
}

func TestTail_ThatNoOneHearsIsUnheardAndCanBeReplayed(t *testing.T) {
	for name, change := range map[string]func(*relay.Options){
		"no subscriber is required": func(*relay.Options) {},
		"RELAY_HOLD_MAX is over":    func(o *relay.Options) { o.MinReceivers, o.HoldMax = map[string]int{"news": 1}, time.Second },
	} {
		t.Run(name, func(t *testing.T) {
			virtually(t, func(v virtual) {
				opts := quick()
				change(&opts)
				diesAndLosesItsSubscriber(v, opts)
				require.Len(t, v.redis.got("news"), 6)
				v.halt()
				require.EqualValues(t, 3, v.topic("news").Unheard)
				v.redis.subscribers(1)
				v.run(opts)
				result, err := v.box.Replay(context.Background(), []uint64{1, 2, 3}, outbox.ReplayOptions{Actor: "test"})
				require.NoError(t, err)
				require.Len(t, result.Sequences, 3)
				v.after(soon)
				require.Len(t, v.redis.got("news"), 9)
			})
		})
	}
}

func TestTail_LastsLongerWhereRedisDoesNotTellWhatIsOnItsWay(t *testing.T) {
	for name, c := range map[string]struct {
		blind       bool
		early, late time.Duration
	}{"it tells": {false, 100 * time.Millisecond, time.Second}, "it does not": {true, 1500 * time.Millisecond, 6 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			virtually(t, func(v virtual) {
				v.redis.blind = c.blind
				v.run(quick())
				v.add("news", 1)
				v.after(c.early)
				require.NotZero(t, v.topic("news").Progress.TailFrom)
				v.after(c.late)
				require.Zero(t, v.topic("news").Progress.TailFrom)
			})
		})
	}
}

// Otherwise its last event would come again when Redis is started anew, perhaps weeks later.
func TestTail_HasLeftWhenARelayHasEnded(t *testing.T) {
	for name, blind := range map[string]bool{"Redis tells what is on its way": false, "it does not": true} {
		t.Run(name, func(t *testing.T) {
			virtually(t, func(v virtual) {
				v.redis.blind = blind
				v.run(quick())
				v.add("news", 3)
				v.after(0)
				began := time.Now()
				v.halt()
				require.LessOrEqual(t, time.Since(began), 3*time.Second)
				require.Zero(t, v.topic("news").Progress.TailFrom)
				v.redis.kill()
				v.after(14 * 24 * time.Hour)
				v.redis.start()
				v.run(quick())
				v.after(time.Minute)
				v.requireGot(nil)
			})
		})
	}
}

func TestTail_StaysWhenRedisDoesNotAnswerWhileARelayEnds(t *testing.T) {
	virtually(t, func(v virtual) {
		v.run(quick())
		v.add("news", 3)
		v.after(0)
		v.redis.kill()
		v.halt()
		require.EqualValues(t, 1, v.topic("news").Progress.TailFrom)
		v.redis.start()
		v.run(quick())
		v.after(time.Minute)
		require.Len(t, v.redis.got("news"), 6)
	})
}
