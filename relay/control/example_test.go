package control_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay/control"
)

// A processor serves the socket while it has the outbox open.
func Example() {
	folder, err := os.MkdirTemp("", "mr")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	ctx, cancel := context.WithCancel(context.Background())
	box, err := outbox.Open(filepath.Join(folder, "outbox.db"), outbox.Options{})
	if err != nil {
		log.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		if err := control.Serve(ctx, control.Options{Outbox: box}); err != nil {
			log.Print(err) // the processor works all the same
		}
	})
	if _, err := box.Add(ctx, outbox.Event{Topic: "news", MessageID: "m1", Payload: []byte("{}")}); err != nil {
		log.Fatal(err)
	}

	// Another process.
	client, err := control.Dial(box.Path() + ".sock")
	for errors.Is(err, control.ErrNotRunning) { // not yet
		time.Sleep(time.Millisecond)
		client, err = control.Dial(box.Path() + ".sock")
	}
	if err != nil {
		log.Fatal(err)
	}
	events, err := client.List(ctx, outbox.Filter{State: outbox.Pending})
	fmt.Println(len(events), events[0].Topic, err)
	_ = client.Close() // never fails

	cancel()
	served.Wait()
	fmt.Println(box.Close())
	// Output:
	// 1 news <nil>
	// <nil>
}
