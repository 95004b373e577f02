package relay_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/relay/control"
)

// entryOf is an entry as the relay adds it.
func entryOf(channel, origin string, sequence int, messageID, payload string) *redis.XAddArgs {
	return &redis.XAddArgs{Stream: relay.StreamKey(channel), Values: []any{
		"specversion", "1.0", "id", messageID, "source", "match-processor", "type", "match_updates",
		"time", "2026-07-01T12:00:00.123456789Z", "subject", channel, "sequence", sequence, "origin", origin, "data", payload}}
}

// A reader takes the events that are in the stream, and each that is added. Its position is a file: when it starts again, it
// goes on after the last event that it handled; after a crash, it may get up to 256 again. Where events are missing, OnGap is called.
func ExampleConsume() {
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	server, err := miniredis.Run() // your Redis
	check(err)
	defer server.Close()
	folder, err := os.MkdirTemp("", "")
	check(err)
	defer os.RemoveAll(folder)
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{server.Addr()}})
	defer client.Close()
	add := func(sequence int, messageID string) { // the relay does this
		entry := entryOf("fogis:matches:updates", "outbox-1", sequence, messageID, "{}")
		entry.Values = append(entry.Values.([]any), "predecessor", sequence-1)
		check(client.XAdd(context.Background(), entry).Err())
	}

	consume := func(events int) {
		ctx, stop := context.WithTimeout(context.Background(), time.Minute)
		defer stop()
		check(relay.Consume(ctx, client, relay.ConsumeOptions{
			Channel: "fogis:matches:updates",
			Store:   relay.PositionFile(filepath.Join(folder, "position.json")),
			Handle: func(_ context.Context, e relay.StreamEvent) error {
				fmt.Printf("%s, #%d, %s\n", e.MessageID, e.Sequence, e.Payload)
				if events--; events == 0 {
					stop()
				}
				return nil
			},
			OnGap: func(_ context.Context, g relay.Gap) error { // without it, Consume ends with ErrGap
				fmt.Printf("%s: #%d to #%d are missing\n", g.Topic, g.After+1, g.Last)
				return nil // the program has got them elsewhere: from the outbox, or by fetching the current state
			},
		}))
	}
	add(1, "m-1")
	add(2, "m-2")
	consume(2)
	fmt.Println("restarted")
	add(3, "m-3")
	consume(1)
	fmt.Println("away for too long")
	add(4, "m-4")
	add(5, "m-5")
	check(client.XTrimMaxLen(context.Background(), relay.StreamKey("fogis:matches:updates"), 1).Err())
	consume(1)
	// Output:
	// m-1, #1, {}
	// m-2, #2, {}
	// restarted
	// m-3, #3, {}
	// away for too long
	// match_updates: #4 to #4 are missing
	// m-5, #5, {}
}

// What left the stream before it was read is still in the outbox, for OUTBOX_RETENTION: the process that has the file gives it to
// who may use its control socket.
func ExampleConsume_missing() {
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	server, err := miniredis.Run() // your Redis
	check(err)
	defer server.Close()
	folder, err := os.MkdirTemp("", "")
	check(err)
	defer os.RemoveAll(folder)
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{server.Addr()}})
	defer client.Close()
	ctx, end := context.WithTimeout(context.Background(), time.Minute)
	defer end()

	// The processor, or matchrelay run, has an outbox, a relay and a control socket.
	box, err := outbox.Open(filepath.Join(folder, "outbox.db"), outbox.Options{})
	check(err)
	defer box.Close()
	deliver := func(ids ...string) {
		for _, id := range ids {
			_, err := box.Add(ctx, outbox.Event{Topic: "match_updates", MessageID: id, Payload: []byte("list of " + id)})
			check(err)
		}
		check(relay.New(box, relay.NewRedis(client, 5*time.Second), relay.Options{Streams: true, UntilEmpty: true,
			Channels: map[string]string{"match_updates": "fogis:matches:updates"}}).Run(ctx))
	}
	socket, err := net.Listen("unix", box.Path()+".sock")
	check(err)
	served := make(chan error, 1)
	serving, stop := context.WithCancel(ctx)
	go func() { served <- control.Serve(serving, control.Options{Outbox: box, Listener: socket}) }()
	defer func() { stop(); check(<-served) }()

	// The reader.
	processor, err := control.Dial(box.Path() + ".sock")
	check(err)
	defer processor.Close()
	consume := func(last string) {
		reading, stop := context.WithCancel(ctx)
		defer stop()
		check(relay.Consume(reading, client, relay.ConsumeOptions{
			Channel: "fogis:matches:updates",
			Store:   relay.PositionFile(filepath.Join(folder, "position.json")),
			Handle: func(_ context.Context, e relay.StreamEvent) error {
				fmt.Printf("#%d, %s\n", e.Sequence, e.Payload)
				if e.MessageID == last {
					stop()
				}
				return nil
			},
			OnGap: func(ctx context.Context, g relay.Gap) error {
				return processor.Missing(ctx, g, func(e outbox.Entry) error {
					fmt.Printf("#%d, %s, from the outbox\n", e.Sequence, e.Payload)
					return nil
				})
			},
		}))
	}
	deliver("m-1")
	consume("m-1")
	fmt.Println("away for too long")
	deliver("m-2", "m-3", "m-4")
	check(client.XTrimMaxLen(ctx, relay.StreamKey("fogis:matches:updates"), 1).Err())
	consume("m-4")
	// Output:
	// #1, list of m-1
	// away for too long
	// #2, list of m-2, from the outbox
	// #3, list of m-3, from the outbox
	// #4, list of m-4
}

// Several workers share the events of a stream: Redis gives each event to one of them, and remembers who has it until it is
// acknowledged. What a worker had when it died goes to another one, so an event may be handled twice: handlers keep the
// message IDs that they have seen. The relay does not trim what the group has still to read or to acknowledge, up to
// RELAY_STREAM_MAX_UNREAD entries. Redis forgets a group together with the stream; then create it again, at 0. Workers
// need more rights than Consume does: +xgroup|create +xreadgroup +xack +xautoclaim.
func Example_consumerGroup() {
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	server, err := miniredis.Run() // your Redis
	check(err)
	defer server.Close()
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{server.Addr()}})
	defer client.Close()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute) // every call needs a deadline
	defer stop()
	stream := relay.StreamKey("fogis:matches:updates")

	// Once, before any worker: 0 begins with the oldest event. When the group is there already, Redis answers BUSYGROUP.
	check(client.XGroupCreateMkStream(ctx, stream, "calendar", "0").Err())
	for i := range 3 { // the relay does this
		check(client.XAdd(ctx, entryOf("fogis:matches:updates", "outbox-1", i+1, fmt.Sprint("m-", i+1), "{}")).Err())
	}

	// receive takes the next event for a worker.
	receive := func(worker string) redis.XMessage {
		streams, err := client.XReadGroup(ctx, &redis.XReadGroupArgs{
			Group: "calendar", Consumer: worker, Streams: []string{stream, ">"}, Count: 1, Block: time.Second}).Result()
		check(err) // redis.Nil when nothing came for a second
		return streams[0].Messages[0]
	}
	// handle works on an event, and then tells Redis that it is done.
	handle := func(worker string, m redis.XMessage) {
		e, err := relay.ParseEntry(m)
		check(err)
		fmt.Println(worker, "handles", e.MessageID)
		check(client.XAck(ctx, stream, "calendar", m.ID).Err())
	}

	handle("worker a", receive("worker a"))
	receive("worker b") // and dies
	handle("worker a", receive("worker a"))

	// Now and then each worker looks for what others have had for too long: a minute, say, in place of 0.
	abandoned, _, err := client.XAutoClaim(ctx, &redis.XAutoClaimArgs{
		Stream: stream, Group: "calendar", Consumer: "worker a", MinIdle: 0, Start: "0", Count: 10}).Result()
	check(err)
	for _, m := range abandoned {
		handle("worker a", m)
	}
	// Output:
	// worker a handles m-1
	// worker a handles m-3
	// worker a handles m-2
}
