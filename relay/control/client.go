package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// dialTimeout is how long a process may take to accept a connection.
const dialTimeout = 5 * time.Second

// Client uses a control socket. It is safe for use by many goroutines. Make one with Dial, or NewClient, and close it.
//
// Errors of its methods: those of the outbox that the process has met (errors.Is finds outbox.ErrNotFound,
// outbox.ErrInvalid and so on; the error is an *Error); ErrNotRunning when the process has gone, perhaps after it has done what
// it was asked for; ErrUnsupported.
type Client struct {
	path string
	web  http.Client
}

// Dial returns a client of the socket at path, after looking whether somebody listens there. Errors: ErrNotRunning when
// nobody does; ErrOtherUser when it is neither a process of this user nor of root (on Linux and macOS, at each connection);
// fs.ErrPermission.
func Dial(path string) (*Client, error) { return DialFor(path, "") }

// DialFor is Dial for a socket that is served by who has the outbox file open: when this process is root's, also its owner
// may serve it.
func DialFor(path, file string) (*Client, error) {
	connect := func(ctx context.Context) (net.Conn, error) { return dial(ctx, path, file) }
	conn, err := connect(context.Background())
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	_ = conn.Close() // nothing was said
	return NewClient(path, connect), nil
}

// NewClient returns a client of what is served in place of a socket (Options.Listener): dial connects to it, and says ErrNotRunning
// when no process serves it. name stands for the path of the socket in errors.
func NewClient(name string, dial func(ctx context.Context) (net.Conn, error)) *Client {
	c := &Client{path: name}
	c.web.Transport = &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		IdleConnTimeout:     30 * time.Second,
		MaxIdleConnsPerHost: 16, // a relay calls for each topic at once
		ReadBufferSize:      64 << 10,
	}
	return c
}

func dial(ctx context.Context, path, file string) (net.Conn, error) {
	if len(path) > maxPath { // nobody can have bound it
		return nil, ErrNotRunning
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "unix", path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOTSOCK) ||
		errors.Is(err, syscall.ENOTDIR) {
		return nil, ErrNotRunning
	}
	if err == nil {
		if err = checkServer(conn, file); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return conn, err
}

// Close closes the connections. It never fails.
func (c *Client) Close() error {
	c.web.CloseIdleConnections()
	return nil
}

// Status asks for the counters of the outbox and the health of the relay.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.call(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// RetryNow ends the backoff that any topic is in. This, Pause and Resume return the relay's health afterwards; ErrNoRelay when
// the process has no relay.
func (c *Client) RetryNow(ctx context.Context) (relay.Health, error) {
	return c.steer(ctx, "/v1/retry-now")
}

// Pause lets the relay publish nothing until it is resumed, or its process ends.
func (c *Client) Pause(ctx context.Context) (relay.Health, error) { return c.steer(ctx, "/v1/pause") }

// Resume ends a pause.
func (c *Client) Resume(ctx context.Context) (relay.Health, error) { return c.steer(ctx, "/v1/resume") }

func (c *Client) steer(ctx context.Context, path string) (relay.Health, error) {
	var h relay.Health
	return h, c.call(ctx, http.MethodPost, path, nil, &h)
}

// Each calls each for every event of a filter, in order, as the list arrives; its error ends the list.
func (c *Client) Each(ctx context.Context, f outbox.Filter, each func(outbox.Info) error) error {
	err := c.lines(ctx, "/v1/events?"+query(f).Encode(), each)
	if err == io.EOF {
		return nil
	}
	return err
}

// lines calls each for every event that an answer lists, and returns io.EOF at its end.
func (c *Client) lines(ctx context.Context, path string, each func(outbox.Info) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body, err := c.Send(ctx, Request{Method: http.MethodGet, Path: path})
	if err != nil {
		return err
	}
	defer body.Close()
	for d := json.NewDecoder(body); ; {
		var l line
		switch err := d.Decode(&l); {
		case err == io.EOF:
			return err
		case hungUp(err):
			return fmt.Errorf("control socket %s: the list ends early: %w any more", c.path, ErrNotRunning)
		case err != nil:
			return fmt.Errorf("control socket %s: the list ends early: %w", c.path, err)
		case l.Error != nil:
			return l.Error
		}
		if err := each(l.Info); err != nil {
			return err
		}
	}
}

// List is outbox.List.
func (c *Client) List(ctx context.Context, f outbox.Filter) ([]outbox.Info, error) {
	var list []outbox.Info
	err := c.Each(ctx, f, func(info outbox.Info) error {
		list = append(list, info)
		return nil
	})
	return list, err
}

// Get is outbox.Get, without the payload.
func (c *Client) Get(ctx context.Context, sequence uint64) (outbox.Entry, outbox.Info, error) {
	return c.get(ctx, sequence, "")
}

// Payload is outbox.Get, with the payload.
func (c *Client) Payload(ctx context.Context, sequence uint64) (outbox.Entry, outbox.Info, error) {
	return c.get(ctx, sequence, "?payload=1")
}

func (c *Client) get(ctx context.Context, sequence uint64, what string) (outbox.Entry, outbox.Info, error) {
	var e Event
	if err := c.call(ctx, http.MethodGet, "/v1/events/"+strconv.FormatUint(sequence, 10)+what, nil, &e); err != nil {
		return outbox.Entry{}, outbox.Info{}, err
	}
	entry := outbox.Entry{Topic: e.Topic, Sequence: e.Sequence, MessageID: e.MessageID, Payload: e.Payload, AppendedAt: e.AppendedAt,
		ReplayOf: e.ReplayOf, Snapshot: e.Snapshot, TraceParent: e.TraceParent}
	if e.Damaged != "" {
		entry.Err = &Error{Code: "damaged", Message: e.Damaged}
	}
	return entry, e.Info, nil
}

// Replay is outbox.Replay, in one request for each MaxSequences, the lower ones first. Of its options, Actor has no effect:
// the audit log names the user that the system tells; nor has Progress. After an error, the result says what was done before
// it.
func (c *Client) Replay(ctx context.Context, sequences []uint64, opts outbox.ReplayOptions) (outbox.ReplayResult, error) {
	total := outbox.ReplayResult{Sequences: []uint64{}}
	err := inSteps(sequences, func(chunk []uint64) error {
		var part outbox.ReplayResult
		err := c.act(ctx, "/v1/events/replay", ReplayRequest{Sequences: chunk, AllowStale: opts.AllowStale, DryRun: opts.DryRun,
			Filter: opts.Filter, Reason: opts.Reason}, &part)
		total.Add(part)
		return err
	})
	return total, err
}

// Discard is outbox.Discard; what is said of Replay holds.
func (c *Client) Discard(ctx context.Context, sequences []uint64, opts outbox.DiscardOptions) (outbox.DiscardResult, error) {
	var total outbox.DiscardResult
	err := inSteps(sequences, func(chunk []uint64) error {
		var part outbox.DiscardResult
		err := c.act(ctx, "/v1/events/discard", DiscardRequest{Sequences: chunk, DryRun: opts.DryRun, Filter: opts.Filter,
			Reason: opts.Reason}, &part)
		total.Add(part)
		return err
	})
	return total, err
}

// inSteps acts on the sequences in order, as many as one request takes.
func inSteps(sequences []uint64, act func(chunk []uint64) error) error {
	for chunk := range slices.Chunk(slices.Compact(slices.Sorted(slices.Values(sequences))), MaxSequences) {
		if err := act(chunk); err != nil {
			return err
		}
	}
	return nil
}

// act sends a request for an action in steps. After an error, into is what was done before it.
func (c *Client) act(ctx context.Context, path string, request, into any) error {
	err := c.call(ctx, http.MethodPost, path, request, into)
	var stopped *stoppedError
	if errors.As(err, &stopped) {
		_ = json.Unmarshal(stopped.done, into) // what cannot be read was not told
		return stopped.error
	}
	return err
}

// stoppedError is an error with what was done before it.
type stoppedError struct {
	error
	done json.RawMessage
}

func (e *stoppedError) Unwrap() error { return e.error }

// Audit is outbox.Audit.
func (c *Client) Audit(ctx context.Context, limit int) ([]outbox.AuditEntry, error) {
	var entries []outbox.AuditEntry
	return entries, c.call(ctx, http.MethodGet, "/v1/audit?limit="+strconv.Itoa(limit), nil, &entries)
}

// call sends a request and reads its answer.
func (c *Client) call(ctx context.Context, method, path string, request, into any) error {
	var body io.Reader
	if request != nil {
		b, err := json.Marshal(request)
		if err != nil {
			return fmt.Errorf("control socket %s: %w", c.path, err)
		}
		body = bytes.NewReader(b)
	}
	return c.Call(ctx, Request{Method: method, Path: path, Body: body}, into)
}

// hungUp tells whether the other side closed the connection, wherever net/http was when it noticed: for a connection that it
// was about to use, it has an error of its own that it does not export.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		err != nil && strings.HasSuffix(err.Error(), "http: server closed idle connection")
}

// Request is one to an endpoint of Options.Routes.
type Request struct {
	Method, Path string // the path with its query
	Header       http.Header
	Body         io.Reader // nil: none
}

// Call sends a request and decodes the JSON of its answer.
func (c *Client) Call(ctx context.Context, r Request, into any) error {
	body, err := c.Send(ctx, r)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(into); hungUp(err) {
		return fmt.Errorf("control socket %s: the answer ends early: %w any more", c.path, ErrNotRunning)
	} else if err != nil {
		return fmt.Errorf("control socket %s: read the answer: %w", c.path, err)
	}
	return nil
}

// Send sends a request and returns the body of its answer, which the caller closes, or the error that it tells.
func (c *Client) Send(ctx context.Context, request Request) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, request.Method, "http://control"+request.Path, request.Body)
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", c.path, err)
	}
	if request.Header != nil {
		r.Header = request.Header
	}
	response, err := c.web.Do(r)
	var wrapped *url.Error // its text is the made-up URL
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if hungUp(err) {
		err = fmt.Errorf("%w any more: it went away before it answered", ErrNotRunning)
	}
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", c.path, err)
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer response.Body.Close()
	var a answer
	if err := json.NewDecoder(response.Body).Decode(&a); err != nil || a.Error == nil {
		return nil, fmt.Errorf("control socket %s: answered %s: %w", c.path, response.Status, ErrUnsupported)
	}
	if a.Result != nil {
		return nil, &stoppedError{error: a.Error, done: a.Result}
	}
	return nil, a.Error
}
