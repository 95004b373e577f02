package torture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/changes/api"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/relay/control"
)

// What copies of the test binary are told.
const (
	roleEnv   = "TORTURE_ROLE"
	dbEnv     = "MATCHRELAY_DB"
	folderEnv = "TORTURE_FOLDER"         // for what they leave behind
	redisEnv  = "TORTURE_REDIS"          // address, through the relays' network
	remoteEnv = "TORTURE_REMOTE"         // address, through the remote network
	clockEnv  = "TORTURE_CLOCK"          // the file that moves the clock
	roleWork  = "work"                   // a Go processor
	roleRelay = "work and relay"         // one with a relay in it
	roleRead  = "read"                   // a consumer of the streams
	workerIDs = "worker-"                // what its message IDs begin with
	acksFile  = "acknowledged-to-worker" // a line for each event whose commit was acknowledged
	meterFile = "goroutines"             // of each role, a line a second: process, goroutines
)

// The topics and their channels.
const updates, statuses, alerts = "match_updates", "processing_status", "system_alert"

var channels = map[string]string{updates: "fogis:matches:updates", statuses: "fogis:processor:status", alerts: "fogis:system:alerts"}

var workerState = []byte("torture worker")

// workerKeeps is how many of its events a worker keeps in its own state.
const workerKeeps = 1000

// now is the clock that is moved.
func now() time.Time {
	off := time.Duration(0)
	if text, err := os.ReadFile(os.Getenv(clockEnv)); err == nil {
		off, _ = time.ParseDuration(strings.TrimSpace(string(text)))
	}
	return time.Now().Add(off).Round(0)
}

// role is the main function of a copy of the test binary.
func role(name string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	go countGoroutines(ctx)
	var err error
	if name == roleRead {
		err = read(ctx, log)
	} else {
		err = work(ctx, log, name == roleRelay)
	}
	if err != nil {
		log.Error("ends", "error", err)
		if errors.Is(err, outbox.ErrLocked) {
			return 4 // as the program does
		}
		return 1
	}
	return 0
}

func countGoroutines(ctx context.Context) {
	for ctx.Err() == nil {
		_ = appendLine(meterFile, fmt.Sprint(os.Getpid(), " ", runtime.NumGoroutine())) // a line that is missing is no harm
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// appendLine writes a line that outlives the process.
func appendLine(name, line string) error {
	f, err := os.OpenFile(filepath.Join(os.Getenv(folderEnv), name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line + "\n")
	return errors.Join(err, f.Close())
}

// work is a processor that links the library: it keeps a state of its own, and serves the API to others.
func work(ctx context.Context, log *slog.Logger, relays bool) error {
	box, err := control.Open(ctx, os.Getenv(dbEnv), "", outbox.Options{Retention: retention, MaxBytes: 64 << 20,
		LockTimeout: 5 * time.Second, Logger: log, Now: now})
	if err != nil {
		return err
	}
	recorder, err := changes.NewRecorder(box, changes.Options{Now: now})
	if err != nil {
		return errors.Join(err, box.Close())
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	opts := control.Options{Outbox: box, Routes: api.Routes(recorder, api.Options{Now: now, Logger: log}), Logger: log}
	var all sync.WaitGroup
	failed := make(chan error, 8)
	run := func(do func() error) {
		all.Go(func() {
			failed <- do()
			stop()
		})
	}
	if relays {
		client := relay.NewClient(relay.ClientOptions{Addrs: []string{os.Getenv(redisEnv)}, DialTimeout: callTimeout})
		defer client.Close()
		r := relay.New(box, relay.NewRedis(client, callTimeout), relay.Options{Channels: channels,
			MinReceivers: map[string]int{updates: 1, statuses: 1, alerts: 1}, RejoinWait: rejoinWait,
			RetryDelay: retryDelay, RetryMaxDelay: retryMaxDelay, HealthInterval: time.Second, Streams: true, StreamMaxLen: streamMax,
			Alert: func(a relay.Alert) (outbox.Event, error) {
				e := workerEvent(alerts)
				e.Urgent = true
				return e, nil
			}, Logger: log})
		opts.Relay = r
		run(func() error { return r.Run(ctx) })
	}
	run(func() error { return control.Serve(ctx, opts) })
	for range 3 {
		run(func() error { return appendAll(ctx, box) })
	}
	all.Wait()
	err = box.Close()
	close(failed)
	for e := range failed {
		err = errors.Join(err, e)
	}
	return err
}

// appendAll appends one event after the other, and writes down which of them were acknowledged.
func appendAll(ctx context.Context, box *outbox.Outbox) error {
	for ctx.Err() == nil {
		topic := statuses
		if time.Now().UnixNano()%3 == 0 {
			topic = alerts
		}
		e := workerEvent(topic)
		var sequences []uint64
		err := box.Update(ctx, func(tx *bolt.Tx) (err error) {
			if sequences, err = box.Append(tx, e); err != nil {
				return err
			}
			return remember(tx, sequences[0], e.MessageID)
		})
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, outbox.ErrDiskFull), errors.Is(err, outbox.ErrFull):
		case err != nil:
			return err
		default:
			if err := appendLine(acksFile, fmt.Sprintf("%d %s %s", sequences[0], topic, e.MessageID)); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(30 * time.Millisecond):
		}
	}
	return nil
}

// remember writes a worker's state: its last events, by sequence.
func remember(tx *bolt.Tx, sequence uint64, id string) error {
	b, err := tx.CreateBucketIfNotExists(workerState)
	if err != nil {
		return err
	}
	if err := b.Put(binary.BigEndian.AppendUint64(nil, sequence), []byte(id)); err != nil {
		return err
	}
	n, err := b.NextSequence()
	if err != nil || n <= workerKeeps {
		return err
	}
	oldest, _ := b.Cursor().First()
	return b.Delete(oldest)
}

func workerEvent(topic string) outbox.Event {
	id := workerIDs + uuid.NewString()
	return outbox.Event{Topic: topic, MessageID: id, Payload: fmt.Appendf(nil, `{"message_id":%q,"text":%q}`, id, strings.Repeat("w", 300))}
}
