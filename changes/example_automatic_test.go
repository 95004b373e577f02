package changes_test

import (
	"context"
	"sync"
	"time"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/relay/control"
	"github.com/PitchConnect/matchrelay/schema"
)

// kickOff is what FOGIS says today.
var kickOff = "17:00"

// fetchMatches stands for the function with which your processor fetches the match list.
func fetchMatches(context.Context) ([]schema.Match, error) {
	return matchAt(kickOff), nil
}

// Automatic: Recorder.Cycle wraps the function with which the processor fetches its matches, and does the rest. It keeps the
// list, finds what changed, and tells that a cycle has started, what changed, and that it is completed, or why it failed.
func Example_automatic() {
	here := newPlace() // a Redis, and a subscriber
	defer here.close()

	// First, processor and relay are one process: the relay is a goroutine.
	box, err := outbox.Open(here.db(), outbox.Options{})
	check(err)
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{here.redis.Addr()}})
	r := relay.New(box, relay.NewRedis(client, 5*time.Second), relay.Options{Channels: channels, MinReceivers: minReceivers})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { check(r.Run(ctx)) })

	recorder, err := changes.NewRecorder(box, changes.Options{})
	check(err)
	_, err = recorder.Cycle(ctx, fetchMatches) // every few minutes
	check(err)
	here.hear(3)

	// The end: the relay settles what Redis has accepted, then everything is closed.
	cancel()
	running.Wait()
	check(client.Close())
	check(box.Close())

	// Later, the relay moves to a process of its own, so that either can be restarted without the other. The processor opens
	// the file with control.Open, since the relay drains it itself while there is no processor, and serves the control socket,
	// through which the relay works from now on.
	here.startRelay(here.environ()) // matchrelay relay
	ctx, cancel = context.WithCancel(context.Background())
	box, err = control.Open(ctx, here.db(), "", outbox.Options{})
	check(err)
	running.Go(func() { check(control.Serve(ctx, control.Options{Outbox: box})) })

	recorder, err = changes.NewRecorder(box, changes.Options{})
	check(err)
	kickOff = "18:00"
	_, err = recorder.Cycle(ctx, fetchMatches)
	check(err)
	here.hear(3)

	cancel()
	running.Wait()
	check(box.Close())
	here.stopRelay()
	// Output:
	// match_updates: new match: A - B, 2030-05-06 17:00
	// processing_status: started
	// processing_status: completed
	// match_updates: kick-off changed from 17:00 to 18:00: A - B, 2030-05-06 18:00
	// processing_status: started
	// processing_status: completed
}
