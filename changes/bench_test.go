package changes_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

// BenchmarkRecord goes from the bytes of a list (1,000 matches: 5 MB), of which one match has changed, to the commit of state
// and event. The baseline, in turns with it, splits the list into raw matches with encoding/json, compresses it with zstd,
// and commits that with bare bbolt; vs_bare is the ratio of the medians of their times.
func BenchmarkRecord(b *testing.B) {
	for _, matches := range []int{1000, 4000} {
		b.Run(fmt.Sprintf("matches=%d", matches), func(b *testing.B) {
			_, r := open(b, outbox.Options{}, changes.Options{})
			feed := fogistest.New(1, matches, noon)
			record := func(list []byte) changes.Summary {
				matches, err := schema.ParseMatches(list)
				require.NoError(b, err)
				s, err := r.Record(ctx, matches, changes.Metadata{})
				require.NoError(b, err)
				return s
			}
			lists := [][]byte{feed.JSON()}
			feed.Apply(fogistest.NewKickOff)
			lists = append(lists, feed.JSON())
			record(lists[0])
			bare := bareCommit(b)
			b.SetBytes(int64(len(lists[0])))
			var ours, theirs []time.Duration
			for i := 1; b.Loop(); i++ {
				began := time.Now()
				require.Len(b, record(lists[i%2]).Changes, 1)
				ours = append(ours, time.Since(began))
				began = time.Now()
				bare(lists[i%2])
				theirs = append(theirs, time.Since(began))
			}
			slices.Sort(ours)
			slices.Sort(theirs)
			median, baseline := ours[len(ours)/2], theirs[len(theirs)/2]
			b.ReportMetric(float64(median.Microseconds())/1000, "ms_record")
			b.ReportMetric(float64(baseline.Microseconds())/1000, "ms_bare")
			b.ReportMetric(float64(median)/float64(baseline), "vs_bare")
		})
	}
}

// bareCommit is the least that anybody has to do to store a list.
func bareCommit(b *testing.B) func(list []byte) {
	db, err := bbolt.Open(filepath.Join(b.TempDir(), "bare.db"), 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType, InitialMmapSize: 256 << 20})
	require.NoError(b, err)
	b.Cleanup(func() { _ = db.Close() })
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	require.NoError(b, err)
	n := uint64(0)
	return func(list []byte) {
		var raw []json.RawMessage
		require.NoError(b, json.Unmarshal(list, &raw))
		n++
		require.NoError(b, db.Update(func(tx *bbolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists([]byte("lists"))
			if err != nil {
				return err
			}
			return bucket.Put(binary.BigEndian.AppendUint64(nil, n), encoder.EncodeAll(list, nil))
		}))
	}
}

// forLists runs a benchmark for a usual list, ten and a hundred times as much, each in two forms that differ in every match and
// every referee. The time for each match has to stay the same.
func forLists(b *testing.B, run func(b *testing.B, list, other []schema.Match)) {
	for _, matches := range []int{60, 600, 6000} {
		b.Run(fmt.Sprintf("matches=%d", matches), func(b *testing.B) {
			list := parse(b, string(fogistest.List(1, matches, noon)))
			other := parse(b, string(fogistest.List(2, matches, noon)))
			b.ReportAllocs()
			run(b, list, other)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(matches), "ns/match")
		})
	}
}

func BenchmarkDiffOfEveryMatch(b *testing.B) {
	forLists(b, func(b *testing.B, list, other []schema.Match) {
		for b.Loop() {
			require.Len(b, changes.Diff(list, other, long).Updated, len(list))
		}
	})
}

func BenchmarkRecordEveryMatch(b *testing.B) {
	forLists(b, func(b *testing.B, list, other []schema.Match) {
		_, r := open(b, outbox.Options{MaxEventBytes: 512 << 20}, changes.Options{})
		for i := 0; b.Loop(); i++ {
			_, err := r.Record(ctx, [][]schema.Match{list, other}[i%2], changes.Metadata{})
			require.NoError(b, err)
		}
	})
}

func BenchmarkCompareUnchanged(b *testing.B) {
	forLists(b, func(b *testing.B, list, _ []schema.Match) {
		_, r := open(b, outbox.Options{MaxEventBytes: 512 << 20}, changes.Options{})
		_, err := r.Record(ctx, list, changes.Metadata{})
		require.NoError(b, err)
		for b.Loop() {
			_, err := r.Preview(ctx, list, changes.Metadata{})
			require.NoError(b, err)
		}
	})
}

// Allocations count the work.
func TestDiff_TakesWorkInProportionToTheMatches(t *testing.T) {
	work := func(n int) float64 {
		list, other := parse(t, string(fogistest.List(1, n, noon))), parse(t, string(fogistest.List(2, n, noon)))
		return testing.AllocsPerRun(1, func() { require.Len(t, changes.Diff(list, other, long).Updated, n) })
	}
	few, many := work(20), work(200)
	require.Less(t, many, 11*few, "%.0f and %.0f allocations", few, many)
}
