package redistest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// Message is one message as a subscriber received it.
type Message struct {
	Channel    string
	Payload    []byte // or what SubscriberOptions.Keep made of it
	Size       int    // of the payload as it came, in bytes
	At         time.Time
	Connection int // which of the subscriber's connections it came over, from 1
}

// SubscriberOptions of a subscriber.
type SubscriberOptions struct {
	Channels []string
	// Reconnect is the time from a broken or refused connection to the next try;
	// 0 means 10 ms.
	Reconnect time.Duration
	// Resolve, if set, is asked for the address before each connection, instead of
	// the one that Subscribe is given. "" means that there is none now.
	Resolve func() string
	// BytesPerSecond, if set, is how fast the socket is read at most. The kernel
	// buffers little for such a subscriber, so that Redis feels it.
	BytesPerSecond int
	// Keep, if set, says what to keep of a payload, as KeepMessageID does.
	Keep func(payload []byte) []byte
}

// Subscriber subscribes to its channels on one connection, keeps every message
// in order, and connects again for as long as it lives. It speaks the protocol
// itself, since a client library would reconnect when it likes. Its methods may
// be called from any goroutine.
type Subscriber struct {
	t      testing.TB
	addr   string
	opts   SubscriberOptions
	cancel context.CancelFunc
	ended  chan struct{}

	mu          sync.Mutex
	messages    []Message
	connections int // on which all channels were subscribed
	broken      int // of those
	conn        net.Conn
	changed     chan struct{} // closed and replaced at every change of the above
}

// Subscribe starts a subscriber of the server at addr, which may be down, and
// does not matter if there is Resolve. It is
// closed with the test.
func Subscribe(t testing.TB, addr string, opts SubscriberOptions) *Subscriber {
	t.Helper()
	if opts.Reconnect == 0 {
		opts.Reconnect = 10 * time.Millisecond
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Subscriber{t: t, addr: addr, opts: opts, cancel: cancel, ended: make(chan struct{}), changed: make(chan struct{})}
	go s.run(ctx)
	t.Cleanup(s.Close)
	return s
}

func (s *Subscriber) run(ctx context.Context) {
	defer close(s.ended)
	for ctx.Err() == nil {
		s.listen(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(s.opts.Reconnect):
		}
	}
}

// listen serves one connection until it breaks. Why it broke does not matter
// to a subscriber.
func (s *Subscriber) listen(ctx context.Context) {
	addr := s.addr
	if s.opts.Resolve != nil {
		addr = s.opts.Resolve()
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()

	writeCommand(conn, append([]string{"SUBSCRIBE"}, s.opts.Channels...)...)
	s.update(func() { s.conn = conn })
	var source io.Reader = conn
	if s.opts.BytesPerSecond > 0 {
		_ = conn.(*net.TCPConn).SetReadBuffer(throttledBuffer) // fails only on a closed connection
		source = &throttle{in: conn, perSecond: s.opts.BytesPerSecond, done: ctx.Done()}
	}
	in := bufio.NewReaderSize(source, 1<<16)
	for subscribed := 0; ; {
		reply, err := readReply(in)
		if err != nil || len(reply) != 3 {
			if subscribed >= len(s.opts.Channels) && ctx.Err() == nil {
				s.update(func() { s.broken++ })
			}
			return
		}
		switch reply[0] {
		case "subscribe":
			if subscribed++; subscribed == len(s.opts.Channels) {
				s.update(func() { s.connections++ })
			}
		case "message":
			m := s.message(reply[1], []byte(reply[2]))
			s.update(func() {
				m.Connection = s.connections
				s.messages = append(s.messages, m)
			})
		}
	}
}

func (s *Subscriber) message(channel string, payload []byte) Message {
	m := Message{Channel: channel, Payload: payload, Size: len(payload), At: time.Now()}
	if i := slices.Index(s.opts.Channels, channel); i >= 0 {
		m.Channel = s.opts.Channels[i] // one string for all messages
	}
	if s.opts.Keep != nil {
		m.Payload = bytes.Clone(s.opts.Keep(payload)) // a part of it would keep the whole in memory
	}
	return m
}

// KeepMessageID is a SubscriberOptions.Keep that leaves what EnvelopeID reads.
func KeepMessageID(payload []byte) []byte {
	kept, err := json.Marshal(map[string]string{"message_id": EnvelopeID(payload)})
	if err != nil {
		panic(err) // a string is no reason
	}
	return kept
}

func (s *Subscriber) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

// Messages returns what was received so far, in order: on the given channels,
// or on all of them if none is given. All of them are not copied, so that it
// costs the same however many there are: do not change them.
func (s *Subscriber) Messages(channels ...string) []Message {
	s.mu.Lock()
	all := s.messages[:len(s.messages):len(s.messages)] // appending to either changes nothing in the other
	s.mu.Unlock()
	if len(channels) == 0 {
		return all
	}
	var out []Message
	for _, m := range all {
		if slices.Contains(channels, m.Channel) {
			out = append(out, m)
		}
	}
	return out
}

// Count is how many messages were received so far.
func (s *Subscriber) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.messages)
}

// Connections is on how many connections all channels were subscribed so far.
func (s *Subscriber) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connections
}

// Disconnections is how many of them broke, whoever broke them, but for Close.
func (s *Subscriber) Disconnections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

// WaitFor returns the messages when there are at least n, and fails the test
// when that takes longer than Patience.
func (s *Subscriber) WaitFor(n int) []Message {
	s.t.Helper()
	s.wait(fmt.Sprintf("%d messages", n), func() bool { return len(s.messages) >= n })
	return s.Messages()
}

// WaitSubscribed returns when all channels have been subscribed on n
// connections: 1 is the first one, 2 after a reconnect, and so on.
func (s *Subscriber) WaitSubscribed(n int) {
	s.t.Helper()
	s.wait(fmt.Sprintf("subscription %d", n), func() bool { return s.connections >= n })
}

// WaitDisconnected returns when n of the connections have broken.
func (s *Subscriber) WaitDisconnected(n int) {
	s.t.Helper()
	s.wait(fmt.Sprintf("disconnection %d", n), func() bool { return s.broken >= n })
}

// Cut breaks the current connection; Reconnect later there is a new one.
func (s *Subscriber) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		_ = s.conn.Close()
	}
}

// Close ends the subscriber. What it received stays readable.
func (s *Subscriber) Close() {
	s.cancel()
	<-s.ended
}

func (s *Subscriber) wait(what string, done func() bool) {
	s.t.Helper()
	deadline := time.After(Patience)
	for {
		s.mu.Lock()
		ok, changed, got, connections := done(), s.changed, len(s.messages), s.connections
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			s.t.Fatalf("subscriber waited %v for %s: it has %d messages, over %d connections", Patience, what, got, connections)
		}
	}
}
