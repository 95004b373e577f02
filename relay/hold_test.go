package relay_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// reads counts how often events of news are read.
type reads struct {
	*outbox.Outbox
	n atomic.Int64
}

func (s *reads) Read(ctx context.Context, r outbox.Range) ([]outbox.Entry, error) {
	if r.Topic == "news" {
		s.n.Add(1)
	}
	return s.Outbox.Read(ctx, r)
}

func TestHold_ReadsNothingWhileItWaits(t *testing.T) {
	for name, c := range map[string]struct {
		state   relay.State
		prepare func(v virtual)
	}{
		"for the subscribers of what is pending": {relay.Held, func(v virtual) {
			v.redis.subscribers(0)
			v.add("news", 1000)
			v.after(soon)
		}},
		"for those of the tail": {relay.Held, func(v virtual) {
			v.add("news", 3)
			v.after(0)
			v.redis.kill()
			v.redis.subscribers(0)
			v.redis.start()
			v.after(quick().RejoinWait + soon)
		}},
		"for those that were there before an outage": {relay.Waiting, func(v virtual) {
			v.redis.subscribers(2)
			v.add("news", 3)
			v.after(time.Minute)
			v.redis.kill()
			v.redis.subscribers(1)
			v.redis.start()
			v.after(soon)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			virtually(t, func(v virtual) {
				opts := quick()
				opts.MinReceivers = map[string]int{"news": 1}
				source := &reads{Outbox: v.box}
				v.startBetween(opts, source, v.redis)
				v.after(0)
				c.prepare(v)
				require.Equal(t, c.state, v.state())
				before := source.n.Load()
				for range 10 {
					v.add("news", 1)
					v.relay.RetryNow()
					v.after(soon)
				}
				require.Equal(t, c.state, v.state())
				require.Equal(t, before, source.n.Load(), "the guard tells all that it needs")
				v.redis.subscribers(2)
				v.after(soon)
				require.Zero(t, v.pending())
				require.Greater(t, source.n.Load(), before)
			})
		})
	}
}
