// Command linked is bare with the library: it records the match list in the outbox of the second argument, and a relay
// delivers to the Redis of the third.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/schema"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		log.Fatal(err)
	}
}

func run(path, db, redisAddr string) error {
	list, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	box, err := outbox.Open(db, outbox.Options{})
	if err != nil {
		return err
	}
	defer box.Close()
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{redisAddr}})
	defer client.Close()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	channels := map[string]string{schema.TypeMatchUpdates: "fogis:matches:updates"}
	go func() { ended <- relay.New(box, relay.NewRedis(client, 0), relay.Options{Channels: channels}).Run(ctx) }()
	matches, err := schema.ParseMatches(list)
	if err != nil {
		return err
	}
	recorder, err := changes.NewRecorder(box, changes.Options{})
	if err != nil {
		return err
	}
	if _, err := recorder.Record(ctx, matches, changes.Metadata{}); err != nil {
		return err
	}
	fmt.Println(len(matches), "matches")
	_, _ = io.Copy(io.Discard, os.Stdin)
	stop()
	return <-ended
}
