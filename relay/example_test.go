package relay_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// A processor has the outbox open, and a relay in a goroutine of its own.
func Example() {
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	server, err := miniredis.Run() // your Redis
	check(err)
	defer server.Close()
	reader := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer reader.Close()
	subscriber := reader.Subscribe(context.Background(), "fogis:matches:updates")
	defer subscriber.Close()

	folder, err := os.MkdirTemp("", "")
	check(err)
	defer os.RemoveAll(folder)
	box, err := outbox.Open(filepath.Join(folder, "matchrelay.db"), outbox.Options{})
	check(err)
	defer box.Close()

	client := relay.NewClient(relay.ClientOptions{Addrs: []string{server.Addr()}})
	defer client.Close()
	r := relay.New(box, relay.NewRedis(client, 5*time.Second), relay.Options{
		Channels:     map[string]string{"match_updates": "fogis:matches:updates"},
		MinReceivers: map[string]int{"match_updates": 1}, // wait for a subscriber
	})
	ctx, stop := context.WithCancel(context.Background())
	relayed := make(chan error, 1)
	go func() { relayed <- r.Run(ctx) }()

	_, err = box.Add(ctx, outbox.Event{Topic: "match_updates", MessageID: "m-1", Payload: []byte(`{"message_id":"m-1"}`)})
	check(err)
	message, err := subscriber.ReceiveMessage(ctx)
	check(err)
	fmt.Println(message.Payload)

	stop()
	check(<-relayed)
	// Output: {"message_id":"m-1"}
}
