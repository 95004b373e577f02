package integration_test

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
)

const rounds = 2 // of each row of the crash table: of a new file, and of one that has been through it

// requireAgreement checks that state, log and what the subscriber got tell the same story.
func requireAgreement(t *testing.T, db string, server *redistest.Server, sub *redistest.Subscriber, mayRepeat map[string]bool) []redistest.Event {
	t.Helper()
	box := openBox(t, db)
	drain(t, box, server.Addr())
	requireSound(t, box)
	state := committed(t, box)
	require.Equal(t, state, logged(t, box), "every committed step has its events in the log, and no event is without its step")
	eventually(t, "the subscriber has the last events", func() bool {
		seen := map[string]bool{}
		for _, e := range history(sub) {
			seen[e.MessageID] = true
		}
		return len(seen) >= len(state)
	})
	require.Empty(t, redistest.Check(state, history(sub), mayRepeat))
	require.NoError(t, box.Close())
	return state
}

func TestAProcessThatDiesAtAnyPointOfTheWayLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	for _, point := range []string{dieBeforeCommit, dieAfterCommit, dieBeforeReply, dieBeforeSettle} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, redistest.Options{})
			sub := subscribe(t, server, 0)
			db := filepath.Join(t.TempDir(), "outbox.db")
			known := 0
			for range rounds {
				startWorker(t, point, db, server.Addr(), 0, 1000).waitKilled()
				state := requireAgreement(t, db, server, sub, nil)
				require.Greater(t, len(state), known, "the worker got something done before it died")
				known = len(state)
			}
		})
	}
}

func TestARedisThatDiesWhileAProcessorPublishesLosesNothing(t *testing.T) {
	t.Parallel()
	for _, point := range []string{redisDiesBefore, redisDiesAfter} {
		for name, persistence := range map[string]redistest.Persistence{"and forgets": redistest.None, "and remembers": redistest.AOF} {
			t.Run(point+" "+name, func(t *testing.T) {
				t.Parallel()
				server := redistest.New(t, redistest.Options{Persistence: persistence})
				server.Start()
				sub := subscribe(t, server, 0)
				db := filepath.Join(t.TempDir(), "outbox.db")
				for range rounds {
					known := len(history(sub))
					w := startWorker(t, point, db, server.Addr(), server.PID(), 250)
					server.WaitDead()
					server.Start()
					w.waitFinished()
					// Only what was published by this worker, within two seconds of the death, may come again.
					mayRepeat := map[string]bool{}
					for _, e := range history(sub)[known:] {
						mayRepeat[e.MessageID] = true
					}
					requireAgreement(t, db, server, sub, union(mayRepeat, repeats(history(sub)[:known])))
				}
			})
		}
	}
}

// repeats are the message IDs that a history holds more than once.
func repeats(events []redistest.Event) map[string]bool {
	seen, again := map[string]bool{}, map[string]bool{}
	for _, e := range events {
		again[e.MessageID] = again[e.MessageID] || seen[e.MessageID]
		seen[e.MessageID] = true
	}
	return again
}

func union(a, b map[string]bool) map[string]bool {
	for id, yes := range b {
		a[id] = a[id] || yes
	}
	return a
}

func TestProcess_IsKilledAtRandomMomentsUnderLoad(t *testing.T) {
	t.Parallel()
	const kills = 20
	server := redistest.Start(t, redistest.Options{})
	sub := subscribe(t, server, 0)
	db := filepath.Join(t.TempDir(), "outbox.db")
	seed := time.Now().UnixNano()
	t.Log("seed ", seed)
	random := rand.New(rand.NewPCG(uint64(seed), 0))
	for range kills {
		w := startWorker(t, dieNever, db, server.Addr(), 0, 1_000_000)
		if random.IntN(10) > 0 { // else it may die while it starts, too
			w.waitWorking()
		}
		<-time.After(time.Duration(random.IntN(200)) * time.Millisecond)
		w.kill()
	}
	state := requireAgreement(t, db, server, sub, nil)
	require.Greater(t, len(state), kills, "the workers got something done")
}
