package outbox_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/outbox"
)

// A processor writes its state and the events that follow from it in one transaction; a relay reads and settles them.
func Example() {
	folder, err := os.MkdirTemp("", "outbox")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	ctx := context.Background()

	o, err := outbox.Open(filepath.Join(folder, "matchrelay.db"), outbox.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer o.Close()

	err = o.Update(ctx, func(tx *bolt.Tx) error {
		state, err := tx.CreateBucketIfNotExists([]byte("my state"))
		if err != nil {
			return err
		}
		if err := state.Put([]byte("match 6186203"), []byte("kick-off 17:00")); err != nil {
			return err
		}
		_, err = o.Append(tx, outbox.Event{Topic: "match_updates", MessageID: "0197-1", Payload: []byte(`{"kick-off": "17:00"}`)})
		return err
	})
	if err != nil {
		log.Fatal(err) // neither state nor event is there
	}

	position, err := o.Position(ctx, "match_updates")
	if err != nil {
		log.Fatal(err)
	}
	entries, err := o.Read(ctx, outbox.Range{Topic: "match_updates", After: position.Cursor, Events: 200, Bytes: 1 << 20})
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range entries {
		fmt.Printf("#%d %s %s\n", e.Sequence, e.MessageID, e.Payload)
		if err := o.Settle(ctx, outbox.Receipt{Topic: e.Topic, Through: e.Sequence, Origin: position.Origin}); err != nil {
			log.Fatal(err)
		}
	}
	stats, err := o.Stats(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("pending:", stats.Topics[0].Pending, "delivered:", stats.Topics[0].Delivered)
	// Output:
	// #1 0197-1 {"kick-off": "17:00"}
	// pending: 0 delivered: 1
}

// A processor that has a bbolt database already keeps its outbox in there.
func ExampleNew() {
	folder, err := os.MkdirTemp("", "outbox")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)

	db, err := bolt.Open(filepath.Join(folder, "processor.db"), 0o600, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	o, err := outbox.New(db, outbox.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer o.Close()

	err = db.Update(func(tx *bolt.Tx) error { // the processor's own transaction
		sequences, err := o.Append(tx, outbox.Event{Topic: "processing_status", MessageID: "0197-2", Payload: []byte(`{"status": "started"}`)})
		fmt.Println("appended as", sequences)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: appended as [1]
}
