package relay_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

// BenchmarkConsume reads 20,000 events of 1 KB, with a file for positions.
func BenchmarkConsume(b *testing.B) {
	const events = 20_000
	server := redistest.Start(b, redistest.Options{})
	pipe := server.Client().Pipeline()
	for i := range events {
		pipe.XAdd(context.Background(), entryOf("test:news", originA, i+1, fmt.Sprint("m-", i+1), strings.Repeat("x", 1000)))
	}
	_, err := pipe.Exec(context.Background())
	require.NoError(b, err)
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{server.Addr()}})
	defer client.Close()
	for b.Loop() {
		ctx, stop := context.WithCancel(context.Background())
		require.NoError(b, relay.Consume(ctx, client, relay.ConsumeOptions{
			Channel: "test:news",
			Store:   relay.PositionFile(filepath.Join(b.TempDir(), "position.json")),
			Handle: func(_ context.Context, e relay.StreamEvent) error {
				if e.Sequence == events {
					stop()
				}
				return nil
			},
		}))
	}
	b.ReportMetric(float64(b.N)*events/b.Elapsed().Seconds(), "events/s")
}
