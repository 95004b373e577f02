package integration_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/changes/api"
	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay/control"
)

// TestEverythingAtOnce has a Go processor that holds the file and appends all the time, a separate relay that is
// killed five times, a Redis that is killed twice, a Python program that posts match lists, and an operator who replays what
// was parked. Every committed event comes once, in order, but for what a Redis that died had not pushed.
func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	const while = 30 * time.Second // for the faults; the rest goes on until there is enough of it
	server := redistest.Start(t, redistest.Options{Persistence: redistest.AOF})
	subs := map[string]*redistest.Subscriber{"prompt": subscribe(t, server, 0), "late": subscribe(t, server, time.Second)}
	box := openBox(t, filepath.Join(shortFolder(t), "test.db"))
	parked, err := box.Add(t.Context(), newEvent(statuses, "parked"))
	require.NoError(t, err)
	require.NoError(t, box.Park(t.Context(), statuses, parked[0], outbox.Failure{Attempts: 3, First: time.Now(), Last: time.Now(), Class: "poison"}))
	recorder, err := changes.NewRecorder(box, changes.Options{})
	require.NoError(t, err)
	stop := serve(t, control.Options{Outbox: box, Routes: api.Routes(recorder, api.Options{})})
	env := separateEnv(box.Path(), server)
	relays := startSeparate(t, env)

	ctx, cancel := context.WithCancel(t.Context())
	every := func(pace time.Duration, do func()) func() {
		return func() {
			for ctx.Err() == nil {
				do()
				select {
				case <-ctx.Done():
				case <-time.After(pace):
				}
			}
		}
	}
	var load, faults sync.WaitGroup
	defer load.Wait()
	defer cancel()
	load.Go(every(10*time.Millisecond, func() { // the Go processor
		if err := commitStep(box, nil); err != nil {
			t.Error(err)
		}
	}))
	var posted atomic.Int64
	client := &daemon{t: t, db: box.Path()}
	load.Go(every(time.Second, func() { // the Python program
		list := fmt.Sprintf(`[{"matchid": 1, "tavlingnamn": "round %d"}]`, posted.Load())
		if r := client.python(list, nil, "-"); r.code != 0 {
			t.Error(r.stderr)
		}
		posted.Add(1)
	}))
	faults.Go(func() {
		for range 5 {
			<-time.After(while / 6)
			relays.kill()
			relays.start()
		}
	})
	var mayRepeat sync.Map
	faults.Go(func() {
		for range 2 {
			<-time.After(while * 7 / 24) // never together with the relay
			tail := tailsOf(t, box)
			server.Kill()
			for id := range tail.mayRepeat(t, box, logged(t, box)) {
				mayRepeat.Store(id, true)
			}
			<-time.After(time.Second)
			server.Start()
		}
	})
	faults.Go(func() { // the operator
		<-time.After(while / 5)
		r := run(t, env, "events", "replay", "--seq", fmt.Sprint(parked[0]), "--yes", "--reason", "mended")
		if r.code != 0 {
			t.Error(r.stderr)
		}
	})
	faults.Wait()
	eventually(t, "enough is done", func() bool { return posted.Load() > 10 && len(committed(t, box)) > 300 })
	cancel()
	load.Wait()

	waitEmpty(t, box)
	var appended []redistest.Event
	list, err := box.List(t.Context(), outbox.Filter{})
	require.NoError(t, err)
	for _, info := range list {
		if info.Topic != alerts && info.State != outbox.Replayed {
			require.Equal(t, outbox.Delivered, info.State, "#%d", info.Sequence)
			appended = append(appended, redistest.Event{Topic: info.Topic, MessageID: info.MessageID})
		}
	}
	repeats := map[string]bool{}
	mayRepeat.Range(func(id, _ any) bool {
		repeats[id.(string)] = true
		return true
	})
	for name, sub := range subs {
		eventually(t, "every event has come to "+name, func() bool { return len(distinct(history(sub))) == len(appended) })
		require.Empty(t, redistest.Check(appended, history(sub), repeats), name)
	}
	relays.end()
	stop()
	audit, err := box.Audit(t.Context(), 0)
	require.NoError(t, err)
	require.Len(t, audit, 1)
	requireSound(t, box)
}
