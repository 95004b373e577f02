package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/PitchConnect/matchrelay/relay"
)

// Relay drains the outbox over the socket: it waits until it has the lease, for one relay drains at a time, and then runs what
// build makes of the outbox, until that returns. The relay is paused, resumed and asked how it does through the socket.
// waiting, which may be nil, is told whom it waits for, each time that changes.
//
// It returns nil when the relay has ended well: ctx has ended, or nothing is pending and it was made with UntilEmpty. Errors
// that calling it again may mend: ErrLeaseLost, and ErrNotRunning when the process has gone; others are the relay's.
func (c *Client) Relay(ctx context.Context, build func(relay.Source) *relay.Relay, waiting func(by string)) error {
	connection, hangUp := context.WithCancelCause(context.WithoutCancel(ctx))
	defer hangUp(nil)
	impatient := context.AfterFunc(ctx, func() { hangUp(nil) })
	lines, err := c.Send(connection, Request{Method: http.MethodPost, Path: "/v1/relay?name=" + url.QueryEscape(processName())})
	if err == nil {
		defer lines.Close()
		in := json.NewDecoder(lines)
		var granted leaseLine
		if granted, err = c.await(in, waiting); err == nil && impatient() { // from here on ctx ends the relay, and that the connection
			err = c.drain(ctx, granted.Paused, &lease{client: c, connection: connection, hangUp: hangUp, lines: in, number: granted.Lease,
				time: time.Duration(granted.Seconds * float64(time.Second)), appended: make(chan struct{})}, build)
		}
	}
	if ctx.Err() != nil && (errors.Is(err, ErrLeaseLost) || errors.Is(err, ErrNotRunning) || errors.Is(err, context.Canceled)) {
		return nil // what is not settled will be refused by Redis
	}
	return err
}

// await returns when the lease is granted.
func (c *Client) await(lines *json.Decoder, waiting func(by string)) (leaseLine, error) {
	for {
		var l leaseLine
		if err := lines.Decode(&l); err != nil {
			return l, fmt.Errorf("control socket %s: %w any more", c.path, ErrNotRunning)
		}
		switch {
		case l.Lease != 0:
			return l, nil
		case l.Yielded:
			return l, fmt.Errorf("control socket %s: %w: %w", c.path, ErrNotRunning, errHandedOver)
		}
		if waiting != nil {
			waiting(l.Waiting)
		}
	}
}

// processName tells this process from others of its kind.
func processName() string {
	return filepath.Base(os.Args[0]) + ", process " + strconv.Itoa(os.Getpid())
}

// drain runs a relay until it ends or the lease is lost.
func (c *Client) drain(ctx context.Context, paused bool, l *lease, build func(relay.Source) *relay.Relay) error {
	r := build(l)
	if paused {
		r.Pause()
	}
	run, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(l.connection, stop)()
	var beside sync.WaitGroup
	beside.Go(func() { l.listen(r) })
	beside.Go(func() { l.keep(r) })
	err := r.Run(run)
	lost := context.Cause(l.connection)
	l.hangUp(nil)
	beside.Wait()
	if lost != nil {
		return lost
	}
	return err
}

// lease is the right to drain, and the outbox that it gives access to: a relay.Source.
type lease struct {
	client     *Client
	connection context.Context // ends with the lease
	hangUp     context.CancelCauseFunc
	lines      *json.Decoder
	number     uint64
	time       time.Duration

	mu       sync.Mutex
	appended chan struct{} // guarded by mu: closed when something was appended, and replaced
}

// listen does what the process tells, until the connection ends.
func (l *lease) listen(r *relay.Relay) {
	for {
		var line leaseLine
		if err := l.lines.Decode(&line); err != nil {
			l.hangUp(fmt.Errorf("control socket %s: %w", l.client.path, ErrLeaseLost))
			return
		}
		if line.Wake {
			l.mu.Lock()
			close(l.appended)
			l.appended = make(chan struct{})
			l.mu.Unlock()
		}
		if line.Ask != "" {
			obey(r, line.Ask)
			_ = l.report(report{Health: r.Health(), Paused: r.Paused(), Answers: line.Number}) // keep will find out what is wrong
		}
	}
}

// keep keeps the lease, as long as the process is heard of in time.
func (l *lease) keep(r *relay.Relay) {
	ticker := time.NewTicker(l.time / 3)
	defer ticker.Stop()
	for {
		select {
		case <-l.connection.Done():
			return
		case <-ticker.C:
		}
		if err := l.report(report{Health: r.Health(), Paused: r.Paused()}); err != nil {
			l.hangUp(fmt.Errorf("%w: %w", ErrLeaseLost, err))
		}
	}
}

// report tells how the relay does, in the time of the lease.
func (l *lease) report(told report) error {
	ctx, cancel := context.WithTimeout(l.connection, l.time)
	defer cancel()
	return l.call(ctx, "report", told, new(bool))
}
