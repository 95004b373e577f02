package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
)

// call calls one of server.calls. When the lease is lost, that is the error.
func (l *lease) call(ctx context.Context, name string, argument, into any) error {
	body, err := l.send(ctx, name, argument)
	if err == nil {
		defer body.Close()
		err = json.NewDecoder(body).Decode(into)
	}
	return l.orLost(name, err)
}

// send sends a call. It ends with the lease.
func (l *lease) send(ctx context.Context, name string, argument any) (io.ReadCloser, error) {
	b, err := json.Marshal(argument)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	release := context.AfterFunc(l.connection, cancel)
	body, err := l.client.Send(ctx, Request{Method: http.MethodPost, Path: "/v1/relay/" + strconv.FormatUint(l.number, 10) + "/" + name,
		Body: bytes.NewReader(b)})
	if err != nil {
		release()
		cancel()
		return nil, err
	}
	return closing{body, func() { release(); cancel() }}, nil
}

// closing is a body with what is to be done when it is closed.
type closing struct {
	io.ReadCloser
	then func()
}

func (c closing) Close() error {
	defer c.then()
	return c.ReadCloser.Close()
}

// orLost makes what is no answer of the outbox an ErrLeaseLost: then nobody knows what has become of it.
func (l *lease) orLost(name string, err error) error {
	var answered *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &answered) && l.connection.Err() == nil:
		return fmt.Errorf("%s over the control socket: %w", name, err)
	}
	return fmt.Errorf("%s over the control socket: %w: %w", name, ErrLeaseLost, err)
}

// Position implements relay.Source, as do all that follow.
func (l *lease) Position(ctx context.Context, topic string) (p outbox.Position, err error) {
	return p, l.call(ctx, "position", arguments{Topic: topic}, &p)
}

func (l *lease) Back(ctx context.Context, topic string, through uint64, n int) (after uint64, err error) {
	return after, l.call(ctx, "back", arguments{Topic: topic, Sequence: through, Count: n}, &after)
}

func (l *lease) MessageID(ctx context.Context, topic string, sequence uint64) (id string, err error) {
	return id, l.call(ctx, "message-id", arguments{Topic: topic, Sequence: sequence}, &id)
}

func (l *lease) Settle(ctx context.Context, r outbox.Receipt) error {
	return l.call(ctx, "settle", r, new(bool))
}

func (l *lease) Flush(ctx context.Context) error {
	return l.call(ctx, "flush", struct{}{}, new(bool))
}

func (l *lease) Park(ctx context.Context, topic string, sequence uint64, f outbox.Failure) error {
	return l.call(ctx, "park", arguments{Topic: topic, Sequence: sequence, Failure: &f}, new(bool))
}

func (l *lease) Add(ctx context.Context, events ...outbox.Event) (sequences []uint64, err error) {
	return sequences, l.call(ctx, "add", arguments{Events: events}, &sequences)
}

func (l *lease) NewOrigin(ctx context.Context, from string, events ...outbox.Event) (origin string, err error) {
	return origin, l.call(ctx, "new-origin", arguments{Origin: from, Events: events}, &origin)
}

func (l *lease) Prune(ctx context.Context) (n int, err error) {
	return n, l.call(ctx, "prune", struct{}{}, &n)
}

func (l *lease) Appended() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.appended
}

func (l *lease) Read(ctx context.Context, r outbox.Range) ([]outbox.Entry, error) {
	body, err := l.send(ctx, "read", r)
	if err != nil {
		return nil, l.orLost("read", err)
	}
	defer body.Close()
	entries, err := readEntries(body, r.Topic)
	return entries, l.orLost("read", err)
}

// readEntries reads what server.read has written.
func readEntries(body io.Reader, topic string) ([]outbox.Entry, error) {
	in := bufio.NewReaderSize(body, 64<<10)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	var heads []entry
	if err := json.Unmarshal(line, &heads); err != nil {
		return nil, err
	}
	size := 0
	for _, h := range heads {
		size += h.Bytes
	}
	payloads := make([]byte, size)
	if _, err := io.ReadFull(in, payloads); err != nil {
		return nil, err
	}
	var entries []outbox.Entry
	for _, h := range heads {
		e := outbox.Entry{Topic: topic, Sequence: h.Sequence, MessageID: h.MessageID, Payload: payloads[:h.Bytes:h.Bytes],
			AppendedAt: time.Unix(0, h.AppendedAt).UTC(), ReplayOf: h.ReplayOf, Snapshot: h.Snapshot, TraceParent: h.TraceParent}
		if h.Damaged != "" {
			e.Err = &Error{Code: "damaged", Message: h.Damaged}
		}
		entries = append(entries, e)
		payloads = payloads[h.Bytes:]
	}
	return entries, nil
}
