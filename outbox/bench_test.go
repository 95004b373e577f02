package outbox

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

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

// BenchmarkList lists what a usual match list makes of events in a day or so, ten and a hundred times as much, of three topics,
// with filters that are looked at for each. The time for each event has to stay the same.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{60, 600, 6000} {
		b.Run(fmt.Sprintf("events=%d", n), func(b *testing.B) {
			o := openAt(b, filepath.Join(b.TempDir(), "outbox.db"), Options{})
			topics := []string{"match_updates", "processing_status", "system_alert"}
			events := make([]Event, n)
			for i := range events {
				events[i] = event(topics[i%len(topics)], fmt.Sprint(i))
			}
			add(b, o, events...)
			settle(b, o, topics[0], uint64(n/2))
			b.ReportAllocs()
			for b.Loop() {
				all, err := o.List(ctx, Filter{})
				require.NoError(b, err)
				require.Len(b, all, n)
				none, err := o.List(ctx, Filter{State: Delivered, Since: time.Unix(1, 0), Until: time.Unix(2, 0), Error: "x"})
				require.NoError(b, err)
				require.Empty(b, none)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/event")
		})
	}
}
