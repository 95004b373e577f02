package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// settings are TORTURE, how long it takes (60s), and SEED (a fresh one).
func settings(t *testing.T) (length time.Duration, seed uint64) {
	t.Helper()
	length, seed = time.Minute, rand.Uint64()>>32
	var err error
	if text := os.Getenv("TORTURE"); text != "" {
		length, err = time.ParseDuration(text)
		require.NoError(t, err, "TORTURE: expected a duration, such as 10m")
	}
	if text := os.Getenv("SEED"); text != "" {
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, "SEED: expected a number")
	}
	return length, seed
}

func TestTorture_EverythingAtOnce(t *testing.T) {
	length, seed := settings(t)
	t.Logf("seed %d, %v; again with: make torture TORTURE=%v SEED=%d", seed, length, length, seed)
	actions := plan(seed, length)
	r := newRig(t)
	require.Zero(t, r.do("ingest", r.list()).code, "the outbox is made")
	r.processor.start(r.kind(runsNoRelay)...)
	r.veteran.start()
	r.relay.start()
	r.consumer.start()

	working, rest := context.WithCancel(context.Background())
	var work sync.WaitGroup
	for i := range 3 {
		work.Go(func() { r.book.post(working, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	work.Go(func() {
		for working.Err() == nil {
			r.changeList()
			<-time.After(700 * time.Millisecond)
		}
	})
	watching, sleep := context.WithCancel(context.Background())
	var watch sync.WaitGroup
	watch.Go(func() { r.book.watch(watching) })
	watch.Go(func() { r.meters.watch(watching) })
	watch.Go(func() { r.tails.watch(watching, r) })
	r.eventually("events are delivered before the plan begins", func() string {
		if n := r.direct.Count(); n < 20 {
			return fmt.Sprint("only ", n, " have arrived")
		}
		return ""
	})

	began := time.Now()
	r.began.Store(&began)
	played := r.play(actions, length)
	r.note("the plan is over: every fault is lifted")
	rest()
	if !played {
		t.Fatalf("seed %d, %v:\n%s", seed, length, strings.Join(r.findings, "\n"))
	}
	r.lift()
	work.Wait()
	sound := r.drain()
	sleep()
	watch.Wait()
	for _, p := range r.processes {
		p.end()
	}
	if sound {
		r.judge()
	}
	r.sum(actions)
	if len(r.findings) > 0 {
		t.Errorf("seed %d, %v: %d findings:\n%s", seed, length, len(r.findings), strings.Join(r.findings, "\n"))
	}
}

// lift ends every fault that a plan may have left.
func (r *rig) lift() {
	r.onDisk(action{what: "free"})
	r.network.Heal()
	r.remote.Heal()
	for _, p := range r.processes {
		p.release()
	}
}

// drain waits until everything that was appended has arrived everywhere, also what was parked, after a replay. Nothing appends any
// more: the relays have the file.
func (r *rig) drain() bool {
	r.processor.end()
	resumed := func() string {
		s, err := r.status()
		if err != nil || s.Relay == nil {
			return "no relay drains"
		}
		if s.Relay.State == relay.Paused {
			r.do("resume")
			return "it is paused"
		}
		for _, topic := range s.Outbox.Topics {
			if topic.Pending > 0 {
				return fmt.Sprintf("%s has %d pending", topic.Topic, topic.Pending)
			}
		}
		return ""
	}
	if !r.eventually("everything is delivered or parked", resumed) {
		return false
	}
	r.takeAll()
	r.replay()
	if !r.eventually("what was parked is delivered", resumed) {
		return false
	}
	client := r.pair.client()
	defer client.Close()
	held := map[string]int{}
	ids := map[string]bool{}
	for topic, channel := range channels {
		for _, e := range redistest.ReadStream(r.t, client, relay.StreamKey(channel)) {
			ids[e.MessageID] = !r.book.isGivenUp(e.MessageID) // Redis may have had it, and died with what it had to push
			held[topic]++
		}
	}
	return r.eventually("the direct subscriber has all that the streams have", func() string {
		got := map[string]bool{}
		for _, m := range r.direct.Messages() {
			got[redistest.EnvelopeID(m.Payload)] = true
		}
		missing := 0
		for id, wanted := range ids {
			if wanted && !got[id] {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Sprintf("%d of %d are missing", missing, len(ids))
		}
		return ""
	}) && r.eventually("the consumer has read the streams", func() string {
		for topic, n := range held {
			text, err := os.ReadFile(filepath.Join(r.logs, handledFile(topic)))
			lines := map[string]bool{}
			for line := range strings.Lines(string(text)) {
				lines[line] = true
			}
			if err != nil || len(lines) < n {
				return fmt.Sprintf("%d of %d events of %s: %v", len(lines), n, topic, err)
			}
		}
		return ""
	})
}

// sum says what the run was.
func (r *rig) sum(actions []action) {
	kills := map[string]int{}
	for _, p := range r.processes {
		kills[p.name] = p.kills
	}
	states := map[outbox.State]int{}
	for _, f := range r.book.facts {
		states[f.state]++
	}
	r.t.Logf("states as last seen: %v; %d events too large for Redis", states, len(r.book.refused))
	r.t.Logf("%d actions (%d of them left out); %d events, %d of them acknowledged to posters (%d after another try); Redis died %d times, %d of them with a failover; killed: %v; clock off by %v; compacted: %v; direct subscriber: %d messages, %d connections",
		len(actions), r.late.Load(), len(r.book.facts), r.book.posted, r.book.repeated.Load(), r.pair.deaths, r.pair.promoted, kills, r.clock, r.compacted,
		r.direct.Count(), r.direct.Connections())
}
