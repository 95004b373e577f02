package main

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// listener is a subscriber like those that the messages are for: one connection for all channels, and a new one some time
// after it breaks. What is published meanwhile it does not get.
type listener struct {
	client   redis.UniversalClient
	channels []string
	delay    time.Duration
	// received is called for each message, in order, from the goroutine of run.
	received func(channel string, payload []byte)
	// subscribed is closed when all channels are subscribed to for the first time.
	subscribed chan struct{}
	once       sync.Once
}

func newListener(client redis.UniversalClient, channels []string, received func(channel string, payload []byte)) *listener {
	return &listener{client: client, channels: channels, delay: time.Second, received: received, subscribed: make(chan struct{})}
}

// run listens until ctx ends.
func (l *listener) run(ctx context.Context) {
	for ctx.Err() == nil {
		l.listen(ctx)
		sleep(ctx, l.delay)
	}
}

// listen serves one connection until it breaks. Why it broke does not matter to a subscriber.
func (l *listener) listen(ctx context.Context) {
	subscription := l.client.Subscribe(ctx, l.channels...)
	defer subscription.Close()
	stop := context.AfterFunc(ctx, func() { _ = subscription.Close() }) // ends Receive, which ctx does not
	defer stop()
	for {
		got, err := subscription.Receive(ctx)
		if err != nil {
			return
		}
		switch got := got.(type) {
		case *redis.Message:
			l.received(got.Channel, []byte(got.Payload))
		case *redis.Subscription:
			if got.Count == len(l.channels) {
				l.once.Do(func() { close(l.subscribed) })
			}
		}
	}
}
