package redistest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Message is one message as a subscriber received it.
type Message struct {
	Channel    string
	Payload    []byte
	At         time.Time
	Connection int // which of the subscriber's connections it came over, from 1
}

// SubscriberOptions of a subscriber.
type SubscriberOptions struct {
	Channels []string
	// Reconnect is the time from a broken or refused connection to the next try;
	// 0 means 10 ms.
	Reconnect time.Duration
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
	conn        net.Conn
	changed     chan struct{} // closed and replaced at every change of the above
}

// Subscribe starts a subscriber of the server at addr, which may be down. It is
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
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()

	request := append([]string{"SUBSCRIBE"}, s.opts.Channels...)
	fmt.Fprintf(conn, "*%d\r\n", len(request))
	for _, word := range request {
		fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(word), word)
	}
	s.update(func() { s.conn = conn })
	in := bufio.NewReaderSize(conn, 1<<16)
	for subscribed := 0; ; {
		reply, err := readReply(in)
		if err != nil || len(reply) != 3 {
			return
		}
		switch reply[0] {
		case "subscribe":
			if subscribed++; subscribed == len(s.opts.Channels) {
				s.update(func() { s.connections++ })
			}
		case "message":
			s.update(func() {
				s.messages = append(s.messages, Message{reply[1], []byte(reply[2]), time.Now(), s.connections})
			})
		}
	}
}

func (s *Subscriber) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

// Messages returns what was received so far, in order: on the given channels,
// or on all of them if none is given.
func (s *Subscriber) Messages(channels ...string) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Message
	for _, m := range s.messages {
		if len(channels) == 0 || slices.Contains(channels, m.Channel) {
			out = append(out, m)
		}
	}
	return out
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

var errProtocol = errors.New("not a reply that a subscriber gets")

// readReply reads an array of bulk strings and integers, as text.
func readReply(in *bufio.Reader) ([]string, error) {
	n, err := readHead(in, '*')
	if err != nil {
		return nil, err
	}
	var items []string
	for range n {
		kind, err := in.Peek(1)
		if err != nil {
			return nil, err
		}
		size, err := readHead(in, kind[0])
		switch {
		case err != nil:
			return nil, err
		case kind[0] == ':':
			items = append(items, strconv.Itoa(size))
		case kind[0] == '$' && size >= 0:
			bulk := make([]byte, size+len("\r\n"))
			if _, err := io.ReadFull(in, bulk); err != nil {
				return nil, err
			}
			items = append(items, string(bulk[:size]))
		default:
			return nil, errProtocol
		}
	}
	return items, nil
}

// readHead reads a line such as *3 or $12 and returns its number.
func readHead(in *bufio.Reader, kind byte) (int, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return 0, err
	}
	if line[0] != kind {
		return 0, errProtocol
	}
	return strconv.Atoi(strings.TrimRight(line[1:], "\r\n"))
}
