package changes_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/relay/control"
	"github.com/PitchConnect/matchrelay/schema"
)

// note keeps something in a bucket of the processor's own.
func note(tx *bbolt.Tx, key, value string) error {
	notes, err := tx.CreateBucketIfNotExists([]byte("my notes"))
	if err != nil {
		return err
	}
	return notes.Put([]byte(key), []byte(value))
}

// Manual: the processor has a bbolt database already, decides itself when to record what, and has its own state, the match
// list and the events that follow from both commit together, or not at all.
func Example_manual() {
	here := newPlace() // a Redis, and a subscriber
	defer here.close()

	// First, processor and relay are one process. The outbox is made of the processor's own database, and leaves it alone but
	// for its own buckets, whose names begin with matchrelay/.
	ctx, cancel := context.WithCancel(context.Background())
	db, err := control.OpenDB(ctx, here.db(), "", nil) // bbolt.Open, in the long run: see below
	check(err)
	box, err := outbox.New(db, outbox.Options{})
	check(err)
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{here.redis.Addr()}})
	r := relay.New(box, relay.NewRedis(client, 5*time.Second), relay.Options{Channels: channels, MinReceivers: minReceivers})
	var running sync.WaitGroup
	running.Go(func() { check(r.Run(ctx)) })
	recorder, err := changes.NewRecorder(box, changes.Options{})
	check(err)

	// Record: the list and the event that tells of its changes, in a transaction of their own.
	_, err = recorder.Record(ctx, matchAt("17:00"), changes.Metadata{})
	check(err)
	here.hear(1)

	// RecordWith: the same beside the processor's own buckets. The lists are compared before the transaction, which keeps
	// nobody waiting. It shares its commit: callers that come while the disk is busy with one wait for the next together,
	// and one whose function fails is rolled back alone. So it is with box.Update.
	check(recorder.RecordWith(ctx, matchAt("18:00"), changes.Metadata{}, func(tx *bbolt.Tx, record func() (changes.Summary, error)) error {
		if err := note(tx, "seen", "18:00"); err != nil {
			return err
		}
		_, err := record()
		return err
	}))
	here.hear(1)

	// Append: any event, from any state. It may be in a transaction of the database, too, as the processor has them already;
	// that shares its commit with nobody.
	check(db.Update(func(tx *bbolt.Tx) error {
		if err := note(tx, "calendar", "in sync"); err != nil {
			return err
		}
		message, err := schema.NewStatus(schema.Status{State: schema.StatusCompleted, Cycle: 1})
		if err != nil {
			return err
		}
		_, err = box.Append(tx, changes.Event(message))
		return err
	}))
	here.hear(1)

	cancel()
	running.Wait()
	check(client.Close())
	check(box.Close()) // the database stays open: it is the processor's
	check(db.Close())

	// Later, the relay moves to a process of its own. It opens the database itself while no processor has it, so it is to
	// hand it over: control.OpenDB is bbolt.Open that asks for that.
	here.startRelay(here.environ()) // matchrelay relay
	ctx, cancel = context.WithCancel(context.Background())
	db, err = control.OpenDB(ctx, here.db(), "", nil)
	check(err)
	box, err = outbox.New(db, outbox.Options{})
	check(err)
	running.Go(func() { check(control.Serve(ctx, control.Options{Outbox: box})) })
	recorder, err = changes.NewRecorder(box, changes.Options{})
	check(err)

	// RecordTx is for a transaction that the processor has already: there the lists are compared within it.
	check(db.Update(func(tx *bbolt.Tx) error {
		if err := note(tx, "seen", "19:00"); err != nil {
			return err
		}
		_, err := recorder.RecordTx(tx, matchAt("19:00"), changes.Metadata{})
		return err
	}))
	here.hear(1)
	check(db.View(func(tx *bbolt.Tx) error {
		notes := tx.Bucket([]byte("my notes"))
		fmt.Printf("my own notes: seen %s, calendar %s\n", notes.Get([]byte("seen")), notes.Get([]byte("calendar")))
		return nil
	}))

	cancel()
	running.Wait()
	check(box.Close())
	check(db.Close())
	here.stopRelay()
	// Output:
	// match_updates: new match: A - B, 2030-05-06 17:00
	// match_updates: kick-off changed from 17:00 to 18:00: A - B, 2030-05-06 18:00
	// processing_status: completed
	// match_updates: kick-off changed from 18:00 to 19:00: A - B, 2030-05-06 19:00
	// my own notes: seen 19:00, calendar in sync
}
