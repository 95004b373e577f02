package changes_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/relay/control"
)

// newRecorder makes a recorder that appends events only if the settings say so.
func newRecorder(box *outbox.Outbox, settings *config.Config) *changes.Recorder {
	recorder, err := changes.NewRecorder(box, changes.Options{
		EventsOff: !settings.Redis.Enabled,
		Location:  settings.Processor.Location,
	})
	check(err)
	return recorder
}

// Selective: a feature switch. The processor is the same either way; REDIS_PUBSUB_ENABLED, or REDIS_ENABLED, decides whether
// events follow from what it records. While that is off, the list is kept up to date and nothing is appended to the outbox;
// once it is on, only what changes from then on is told. What was appended before it was switched off stays in the outbox
// until a relay runs again.
func Example_selective() {
	here := newPlace() // a Redis, and a subscriber
	defer here.close()
	ctx := context.Background()

	// First, it is off.
	settings, err := config.Load(config.Options{Environ: here.environ("REDIS_ENABLED=false")}) // yours: config.Options{}
	check(err)
	box, err := outbox.Open(settings.Outbox.Path, outbox.Options{})
	check(err)
	summary, err := newRecorder(box, settings).Record(ctx, matchAt("17:00"), changes.Metadata{})
	check(err)
	fmt.Printf("off: %d new match, %d events\n", len(summary.New), len(summary.Sequences))
	check(box.Close())

	// The processor is restarted with the switch on, and the relay is a goroutine of it.
	settings, err = config.Load(config.Options{Environ: here.environ("REDIS_PUBSUB_ENABLED=true")})
	check(err)
	box, err = outbox.Open(settings.Outbox.Path, outbox.Options{})
	check(err)
	running, cancel := context.WithCancel(ctx)
	var relays sync.WaitGroup
	if settings.Redis.Enabled {
		client := relay.NewClient(relay.ClientOptions{Addrs: settings.Redis.Server.Addrs})
		defer client.Close()
		r := relay.New(box, relay.NewRedis(client, 5*time.Second), relay.Options{
			Channels:     settings.Redis.Channels(),
			MinReceivers: settings.Relay.MinReceivers,
		})
		relays.Go(func() { check(r.Run(running)) })
	}
	recorder := newRecorder(box, settings)
	summary, err = recorder.Record(ctx, matchAt("17:00"), changes.Metadata{})
	check(err)
	fmt.Printf("on: %d changes, %d events\n", len(summary.Changes), len(summary.Sequences))

	// So subscribers have not heard of the match yet. The next update would bring the whole list, but name only what has changed
	// since; a resync sends the list at once, like the command matchrelay resync.
	_, err = recorder.Resync(ctx, changes.Operator{Actor: "the processor", Reason: "events were off"})
	check(err)
	here.hear(1)
	_, err = recorder.Record(ctx, matchAt("18:00"), changes.Metadata{})
	check(err)
	here.hear(1)
	cancel()
	relays.Wait()
	check(box.Close())

	// Later, the relay moves to a process of its own, with the same settings; while the switch is off, it refuses to start.
	here.startRelay(here.environ("REDIS_PUBSUB_ENABLED=true")) // matchrelay relay
	box, err = control.Open(ctx, settings.Outbox.Path, settings.Outbox.Socket, outbox.Options{})
	check(err)
	running, cancel = context.WithCancel(ctx)
	relays.Go(func() { check(control.Serve(running, control.Options{Outbox: box, Path: settings.Outbox.Socket})) })
	_, err = newRecorder(box, settings).Record(ctx, matchAt("19:00"), changes.Metadata{})
	check(err)
	here.hear(1)

	cancel()
	relays.Wait()
	check(box.Close())
	here.stopRelay()
	// Output:
	// off: 1 new match, 0 events
	// on: 0 changes, 0 events
	// match_updates: the whole list (1), no changes
	// match_updates: kick-off changed from 17:00 to 18:00: A - B, 2030-05-06 18:00
	// match_updates: kick-off changed from 18:00 to 19:00: A - B, 2030-05-06 19:00
}
