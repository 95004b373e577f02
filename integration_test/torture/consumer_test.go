package torture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/PitchConnect/matchrelay/relay"
)

func handledFile(topic string) string { return "handled-" + topic }

// read consumes the streams of all topics, and writes down what it was given.
func read(ctx context.Context, log *slog.Logger) error {
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{os.Getenv(remoteEnv)}, DialTimeout: callTimeout})
	defer client.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	failed := make([]error, 0, len(channels))
	var mu sync.Mutex
	for topic, channel := range channels {
		all.Go(func() {
			err := relay.Consume(ctx, client, relay.ConsumeOptions{Channel: channel, Timeout: callTimeout,
				Store:      relay.PositionFile(filepath.Join(os.Getenv(folderEnv), "position-"+topic)),
				SaveEvery:  1, // of what comes again after a kill, no more than one event is expected
				RetryDelay: retryDelay, RetryMaxDelay: 20 * retryDelay, Logger: log,
				Handle: func(_ context.Context, e relay.StreamEvent) error {
					return appendLine(handledFile(topic), fmt.Sprintf("%d %s", e.Sequence, e.MessageID))
				}})
			mu.Lock()
			defer mu.Unlock()
			failed = append(failed, err)
			stop()
		})
	}
	all.Wait()
	return errors.Join(failed...)
}

// Settings of relays and consumers: those of the program are shorter than its defaults, too.
const (
	callTimeout   = time.Second
	retryDelay    = 20 * time.Millisecond
	retryMaxDelay = 200 * time.Millisecond
	rejoinWait    = 3 * time.Second
	streamMax     = 10_000_000 // nothing is trimmed, so that all of it can be judged
)
