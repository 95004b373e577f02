package outbox

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

var bareBucket = []byte("log")

// bareDB is bbolt with one bucket and nothing of ours, opened with the same options as an outbox.
func bareDB(b *testing.B) *bolt.DB {
	path := filepath.Join(b.TempDir(), "bare.db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType, InitialMmapSize: 256 << 20})
	require.NoError(b, err)
	b.Cleanup(func() { _ = db.Close() })
	require.NoError(b, db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket(bareBucket); return err }))
	return db
}

func barePut(tx *bolt.Tx, sequence uint64, value []byte) error {
	log := tx.Bucket(bareBucket)
	log.FillPercent = 0.9
	return log.Put(binary.BigEndian.AppendUint64(nil, sequence), value)
}

// bareGroup is group commit as plain as can be: one goroutine takes all that wait into one transaction.
type bareGroup struct {
	puts chan barePutCall
	done chan struct{}
}

type barePutCall struct {
	value []byte
	done  chan error
}

func newBareGroup(db *bolt.DB) *bareGroup {
	g := &bareGroup{puts: make(chan barePutCall, 1024), done: make(chan struct{})}
	go func() {
		defer close(g.done)
		var sequence uint64
		for first := range g.puts {
			group := []barePutCall{first}
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
	g.puts <- barePutCall{value, done}
	return <-done
}

func (g *bareGroup) close() { close(g.puts); <-g.done }

// inParallel shares n calls among some callers and returns how long they took.
func inParallel(b *testing.B, callers, n int, call func() error) time.Duration {
	var next atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for range callers {
		wg.Go(func() {
			for next.Add(1) <= int64(n) {
				if err := call(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(begin)
}

// BenchmarkAppend appends events of 1 KB, each durable when its call returns, and takes turns with bbolt alone, so that
// both see the same disk: its plain Update for one caller, a plain group commit for many, and its Batch at its defaults.
// The ratios are of the events per second.
func BenchmarkAppend(b *testing.B) {
	kilobyte := noise(1000)
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			o := openAt(b, filepath.Join(b.TempDir(), "outbox.db"), Options{})
			var minted atomic.Int64
			appendOne := func() error {
				_, err := o.Add(ctx, Event{Topic: "match_updates", MessageID: fmt.Sprintf("%036d", minted.Add(1)), Payload: kilobyte})
				return err
			}
			var sequence uint64
			db := bareDB(b)
			bare := func() error {
				sequence++
				return db.Update(func(tx *bolt.Tx) error { return barePut(tx, sequence, kilobyte) })
			}
			if callers > 1 {
				g := newBareGroup(db)
				defer g.close()
				bare = func() error { return g.put(kilobyte) }
			}
			batched := bareDB(b)
			var batchSequence atomic.Uint64
			batch := func() error {
				n := batchSequence.Add(1)
				return batched.Batch(func(tx *bolt.Tx) error { return barePut(tx, n, kilobyte) })
			}
			n := 100 * callers
			var ours, theirs, batches time.Duration
			for b.Loop() {
				ours += inParallel(b, callers, n, appendOne)
				theirs += inParallel(b, callers, n, bare)
				if callers == 64 {
					batches += inParallel(b, callers, n, batch)
				}
			}
			events := float64(n * b.N)
			b.ReportMetric(events/ours.Seconds(), "events/s")
			b.ReportMetric(events/theirs.Seconds(), "bare-events/s")
			b.ReportMetric(theirs.Seconds()/ours.Seconds(), "vs-bare")
			if callers == 64 {
				b.ReportMetric(batches.Seconds()/ours.Seconds(), "vs-batch")
			}
		})
	}
}

// BenchmarkAppendLarge appends a payload of 5 MB that compresses as a match list does, beside one that does not.
func BenchmarkAppendLarge(b *testing.B) {
	list := make([]byte, 0, 5<<20)
	for i := 0; len(list) < 5<<20; i++ {
		list = fmt.Appendf(list, `{"matchid": %d, "lag1namn": "Team %d", "installd": false, "personnamn": "Referee %x", "uppskjuten": false},`,
			6000000+i, rand.IntN(500), rand.Uint32())
	}
	for name, payload := range map[string][]byte{"compressible": list, "noise": noise(5 << 20)} {
		b.Run("payload="+name, func(b *testing.B) {
			o := openAt(b, filepath.Join(b.TempDir(), "outbox.db"), Options{})
			b.SetBytes(int64(len(payload)))
			for i := 0; b.Loop(); i++ {
				add(b, o, Event{Topic: "match_updates", MessageID: fmt.Sprint(i), Payload: payload})
			}
		})
	}
}

// BenchmarkReopen opens an outbox of which 200,000 events were pruned. The page cache is warm.
func BenchmarkReopen(b *testing.B) {
	clock := newClock()
	o := openAt(b, filepath.Join(b.TempDir(), "outbox.db"), Options{Now: clock.Now})
	const n, step = 200_000, 5000
	for i := 0; i < n; i += step {
		list := make([]Event, step)
		for j := range list {
			list[j] = event("match_updates", fmt.Sprint(i+j))
		}
		add(b, o, list...)
	}
	settle(b, o, "match_updates", n)
	clock.advance(DefaultRetention + time.Second)
	_, err := o.Prune(ctx)
	require.NoError(b, err)
	require.NoError(b, o.Close())
	for b.Loop() {
		o, err := Open(o.Path(), Options{})
		require.NoError(b, err)
		require.NoError(b, o.Close())
	}
}
