package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sync/errgroup"

	"github.com/PitchConnect/matchrelay/outbox"
)

// appendCallers are the numbers of callers that append at once.
var appendCallers = []int{1, 64, 256}

// noise is a payload that does not compress.
func noise(n int) []byte {
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.BigEndian.AppendUint64(b, rand.Uint64())
	}
	return b[:n]
}

// bareBolt is bbolt with one bucket and nothing of ours, opened as an outbox opens it.
func bareBolt(path string) (*bolt.DB, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType, InitialMmapSize: 256 << 20})
	if err != nil {
		return nil, err
	}
	return db, db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket(bareBucket); return err })
}

var bareBucket = []byte("log")

func barePut(tx *bolt.Tx, sequence uint64, value []byte) error {
	log := tx.Bucket(bareBucket)
	log.FillPercent = 0.9
	return log.Put(binary.BigEndian.AppendUint64(nil, sequence), value)
}

// bareGroup is group commit as plain as can be: one goroutine takes all that wait into one transaction.
type bareGroup struct {
	puts chan bareCall
	done chan struct{}
}

type bareCall struct {
	value []byte
	done  chan error
}

func newBareGroup(db *bolt.DB) *bareGroup {
	g := &bareGroup{puts: make(chan bareCall, 1024), done: make(chan struct{})}
	go func() {
		defer close(g.done)
		var sequence uint64
		for first := range g.puts {
			group := []bareCall{first}
			runtime.Gosched() // all who were answered call again before the next commit
			for len(g.puts) > 0 {
				group = append(group, <-g.puts)
			}
			err := db.Update(func(tx *bolt.Tx) error {
				for _, put := range group {
					sequence++
					if err := barePut(tx, sequence, put.value); err != nil {
						return err
					}
				}
				return nil
			})
			for _, put := range group {
				put.done <- err
			}
		}
	}()
	return g
}

func (g *bareGroup) put(value []byte) error {
	done := make(chan error, 1)
	g.puts <- bareCall{value, done}
	return <-done
}

func (g *bareGroup) close() { close(g.puts); <-g.done }

// shared shares n calls among some callers and returns how many a second were made.
func shared(ctx context.Context, callers, n int, call func() error) (perSecond float64, err error) {
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for range callers {
		group.Go(func() error {
			for next.Add(1) <= int64(n) {
				if err := call(); err != nil {
					return err
				}
				if ctx.Err() != nil {
					return ctx.Err()
				}
			}
			return nil
		})
	}
	err = group.Wait()
	return rate(n, began), err
}

// benchAppends measures durable appends.
func benchAppends(ctx context.Context, plan benchPlan, folder string, report *benchReport, tick func()) error {
	for _, callers := range appendCallers {
		f, err := benchAppend(ctx, plan, folder, callers, tick)
		if err != nil {
			return fmt.Errorf("measure appends by %s: %w", count(callers, "caller"), err)
		}
		switch callers {
		case 1:
			report.Append1 = &appendFigure{f.figure, f.Ratio}
		case 64:
			report.Append64 = &f
		default:
			report.Append256 = &f
		}
	}
	return nil
}

// benchAppend measures appends by some callers at once beside bbolt alone: its plain Update for one, a plain group commit for
// many; with 64 also beside bbolt's Batch at its defaults.
func benchAppend(ctx context.Context, plan benchPlan, folder string, callers int, tick func()) (f groupFigure, err error) {
	if folder, err = os.MkdirTemp(folder, "append-"); err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	box, err := outbox.Open(filepath.Join(folder, "outbox.db"), outbox.Options{})
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, box.Close()) }()
	db, err := bareBolt(filepath.Join(folder, "bare.db"))
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	payload, n := noise(benchBytes), callsOf(plan, callers)
	ids := make([]string, n) // a message is ready-made, for both
	for i := range ids {
		ids[i] = uuid.NewString()
	}
	var used atomic.Uint64
	ours := func() error {
		_, err := box.Add(ctx, outbox.Event{Topic: "bench", MessageID: ids[used.Add(1)%uint64(n)], Payload: payload})
		return err
	}
	var sequence uint64
	bare := func() error {
		sequence++
		return db.Update(func(tx *bolt.Tx) error { return barePut(tx, sequence, payload) })
	}
	if callers > 1 {
		g := newBareGroup(db)
		defer g.close()
		bare = func() error { return g.put(payload) }
	}
	baseline := func() (float64, error) { return shared(ctx, callers, n, bare) }
	var batches []float64 // one a round
	if callers == 64 {
		batched, err := bareBolt(filepath.Join(folder, "batch.db"))
		if err != nil {
			return f, err
		}
		defer func() { err = errors.Join(err, batched.Close()) }()
		var number atomic.Uint64
		baseline = func() (float64, error) {
			perSecond, err := shared(ctx, callers, n/4, func() error {
				k := number.Add(1)
				return batched.Batch(func(tx *bolt.Tx) error { return barePut(tx, k, payload) })
			})
			if err != nil {
				return 0, err
			}
			batches = append(batches, perSecond)
			return shared(ctx, callers, n, bare)
		}
	}
	f.figure, f.Ratio, err = inTurns(plan.rounds, func() (float64, error) { return shared(ctx, callers, n, ours) }, baseline, tick)
	if err == nil && len(batches) > 0 {
		f.BatchPerSecond = quantile(batches[1:], 0.5) // the first round is not counted
		f.Batch = f.PerSecond / f.BatchPerSecond
	}
	return f, err
}

// callsOf is how often appending is called in a round.
func callsOf(plan benchPlan, callers int) int { return plan.appends * max(callers, 20) }
