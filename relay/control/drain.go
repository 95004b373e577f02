package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// DrainOptions of Drain.
type DrainOptions struct {
	// Path is that of the outbox file, Socket that of the control socket; "" means Path with .sock appended.
	Path, Socket string
	// Outbox are the options with which the file is opened when no other process has it. LockTimeout has no effect.
	Outbox outbox.Options
	// Relay makes a relay of the outbox, and abort, which breaks its calls to Redis off (Redis.Abort) and frees what it used. It
	// is called each time that draining begins anew, and abort once after that, perhaps while the relay runs.
	Relay func(relay.Source) (r *relay.Relay, abort func())
	// Routes, if set, are more endpoints of the control socket that is served while this process has the file.
	Routes func(*outbox.Outbox) ([]Route, error)
	// While, if set, is called each time that this process has opened the file, and is to call drain, beside whatever else is
	// to be done meanwhile; the file is closed when it returns. Its error is that of Drain, unless it is drain's.
	While func(ctx context.Context, box *outbox.Outbox, drain func(context.Context) error) error
	// Logger takes what happens; nil discards it.
	Logger *slog.Logger
}

const (
	// yieldTime is how long a relay that hands the file over may wait for answers of Redis; what is not settled then is sent
	// again, and Redis refuses it.
	yieldTime = 400 * time.Millisecond
	// comeIn is how long a relay leaves a file alone that a processor wants.
	comeIn = 2 * time.Second
	// lookAgain is how often it looks whether that has come.
	lookAgain = 20 * time.Millisecond
	// drainRetry is the pause before anything else is tried again.
	drainRetry = 250 * time.Millisecond
)

// Drain is a relay in a process of its own: it drains an outbox until ctx ends, and then returns nil. While a processor has the
// file open, it drains over the control socket (see Client.Relay), waiting while another relay does. When no process has it, it
// opens the file itself and serves the socket; as soon as a processor wants the file (see Open), it hands it over, within a
// second. Nobody has to be started first, but with Outbox.MustExist there must be a file or a process that serves the socket.
// Errors: those of outbox.Open but ErrLocked, of Serve but ErrInUse, ErrOtherUser, of Relay.Run, and of Routes and While.
func Drain(ctx context.Context, opts DrainOptions) error {
	if opts.Socket == "" {
		opts.Socket = opts.Path + ".sock"
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	d := &drainer{opts: opts}
	d.opts.Outbox.LockTimeout = once
	var last string
	for {
		err := d.once(ctx)
		switch {
		case errors.Is(err, errHandedOver):
			d.letIn(ctx)
			last = ""
		case errors.Is(err, ErrLeaseLost), errors.Is(err, ErrNotRunning), errors.Is(err, outbox.ErrLocked), errors.Is(err, ErrInUse):
		case ctx.Err() != nil && errors.Is(err, context.Canceled):
		default:
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errHandedOver) {
			continue
		}
		if text := err.Error(); text != last {
			opts.Logger.Info("not draining for now; trying again", "reason", err)
			last = text
		}
		sleep(ctx, drainRetry)
	}
}

type drainer struct {
	opts   DrainOptions
	paused bool // the relay before was, so the next one is as well
}

// build makes the next relay; over is to be called when it has ended.
func (d *drainer) build(source relay.Source) (r *relay.Relay, abort, over func()) {
	r, abort = d.opts.Relay(source)
	abort = sync.OnceFunc(abort)
	if d.paused {
		r.Pause()
	}
	return r, abort, func() {
		d.paused = r.Paused()
		abort()
	}
}

// once drains wherever the outbox is now.
func (d *drainer) once(ctx context.Context) error {
	client, err := DialFor(d.opts.Socket, d.opts.Path)
	switch {
	case err == nil:
		defer client.Close()
		return d.remotely(ctx, client)
	case !errors.Is(err, ErrNotRunning):
		return err
	}
	box, err := outbox.Open(d.opts.Path, d.opts.Outbox)
	if err != nil {
		return err
	}
	d.opts.Logger.Info("no other process has the outbox: draining the file itself", "db", box.Path())
	drain := func(ctx context.Context) error { return d.itself(ctx, box) }
	if d.opts.While != nil {
		err = d.opts.While(ctx, box, drain)
	} else {
		err = drain(ctx)
	}
	return errors.Join(err, box.Close())
}

// remotely drains over the socket.
func (d *drainer) remotely(ctx context.Context, client *Client) error {
	if err := d.check(ctx, client); err != nil {
		return err
	}
	over := func() {}
	defer func() { over() }()
	err := client.Relay(ctx, func(source relay.Source) *relay.Relay {
		d.opts.Logger.Info("draining over the control socket", "socket", d.opts.Socket)
		r, abort, ended := d.build(source)
		over = ended
		context.AfterFunc(source.(*lease).connection, func() { time.AfterFunc(yieldTime, abort) }) // the lease is lost
		return r
	}, func(by string) {
		d.opts.Logger.Info("standing by", "relay", by)
	})
	if errors.Is(err, outbox.ErrFailed) || errors.Is(err, outbox.ErrClosed) { // that process will end, and another one begin
		err = fmt.Errorf("%w: %w", ErrLeaseLost, err)
	}
	return err
}

// check makes sure that the process that serves the socket has the right file.
func (d *drainer) check(ctx context.Context, client *Client) error {
	ctx, cancel := context.WithTimeout(ctx, DefaultLease)
	defer cancel()
	status, err := client.Status(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("control socket %s: %w: it does not answer", d.opts.Socket, ErrNotRunning)
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(d.opts.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it is somewhere else for that process
	}
	if err == nil && !status.File.Is(info) {
		err = fmt.Errorf("control socket %s: the process that serves it has another outbox open, %s; give each outbox a socket of its own with MATCHRELAY_SOCKET", d.opts.Socket, status.File.Path)
	}
	return err
}

// itself drains a file that this process has opened, until another one wants it.
func (d *drainer) itself(whole context.Context, box *outbox.Outbox) error {
	ctx, cancel := context.WithCancelCause(whole)
	defer cancel(nil)
	r, abort, over := d.build(box)
	defer over()
	defer context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), errHandedOver) {
			time.AfterFunc(yieldTime, abort)
		}
	})()
	served := Options{Outbox: box, Relay: r, Path: d.opts.Socket, Yield: func() { cancel(errHandedOver) }, Logger: d.opts.Logger}
	if d.opts.Routes != nil {
		var err error
		if served.Routes, err = d.opts.Routes(box); err != nil {
			return err
		}
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := Serve(ctx, served); err != nil {
			cancel(err) // nobody could ask for the file
		}
	})
	err := r.Run(ctx)
	cause := context.Cause(ctx)
	cancel(nil)
	serving.Wait()
	switch {
	case err != nil || whole.Err() != nil:
		return err
	case errors.Is(cause, errHandedOver):
		d.opts.Logger.Info("handing the outbox over to a process that wants it")
	}
	return cause
}

// letIn returns when another process has come for the file, or none has for a while.
func (d *drainer) letIn(ctx context.Context) {
	for until := time.Now().Add(comeIn); ctx.Err() == nil && time.Now().Before(until); sleep(ctx, lookAgain) {
		if client, err := DialFor(d.opts.Socket, d.opts.Path); err == nil {
			_ = client.Close() // never fails
			return
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
