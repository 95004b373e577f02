package control

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/PitchConnect/matchrelay/outbox"
)

// handoverTime is how long a process that hands the file over may take.
const handoverTime = 5 * time.Second

// retryOpen is how soon Open tries again while it waits for the file.
const retryOpen = 10 * time.Millisecond

// errHandedOver ends the draining of a file that another process wants.
var errHandedOver = errors.New("another process wants the outbox file")

// handover has this process close the file soon, if it can.
func (s *server) handover(w http.ResponseWriter, _ *http.Request) error {
	if s.opts.Yield == nil {
		return ErrKept
	}
	s.yielding.Store(true)
	respond(w, http.StatusOK, true)
	s.opts.Yield()
	return nil
}

// Handover asks the process that has the file to close it soon. Errors: ErrKept.
func (c *Client) Handover(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/handover", nil, new(bool))
}

// Open is outbox.Open for a processor beside which a separate relay may run: when such a relay has the file open, because
// no processor had, it is asked to hand it over, which takes less than a second. The relay goes on over the socket that the
// processor then serves. socket is the path of the control socket; "" means the outbox file's with .sock appended.
//
// Errors are those of outbox.Open: a *outbox.LockedError when the file stays with a process that needs it.
func Open(ctx context.Context, path, socket string, opts outbox.Options) (*outbox.Outbox, error) {
	wait := opts.LockTimeout
	opts.LockTimeout = once
	var box *outbox.Outbox
	err := claim(ctx, path, socket, wait, func() (err error) {
		box, err = outbox.Open(path, opts)
		return err
	})
	return box, err
}

// OpenDB is Open for a processor that keeps its outbox in a database of its own (see outbox.New): it is bbolt.Open, with mode
// 0600, and with what Open does about a relay that has the file. opts, which may be nil, are bbolt's; their Timeout is how
// long the file is waited for when nobody hands it over, 0 means outbox.DefaultLockTimeout.
//
// A file that is compacted or restored meanwhile is opened again, as the one that has the name afterwards.
//
// Errors are those of bbolt.Open, but a *outbox.LockedError when the file stays with a process that needs it.
func OpenDB(ctx context.Context, path, socket string, opts *bolt.Options) (*bolt.DB, error) {
	if opts == nil {
		opts = bolt.DefaultOptions
	}
	attempt := *opts
	attempt.Timeout = once
	var opened os.FileInfo
	attempt.OpenFile = func(name string, flag int, mode os.FileMode) (f *os.File, err error) {
		open := opts.OpenFile
		if open == nil {
			open = os.OpenFile
		}
		if f, err = open(name, flag, mode); err == nil {
			opened, err = f.Stat()
		}
		return f, err
	}
	var db *bolt.DB
	err := claim(ctx, path, socket, opts.Timeout, func() (err error) {
		opened = nil
		db, err = bolt.Open(path, 0o600, &attempt)
		if errors.Is(err, berrors.ErrTimeout) {
			return &outbox.LockedError{Path: path}
		}
		if now, statErr := os.Stat(path); opened != nil && (statErr != nil || !os.SameFile(opened, now)) { // replaced before it was locked
			if err == nil {
				err = db.Close()
			}
			return errors.Join(&outbox.LockedError{Path: path}, err)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return db, nil
}

// once is the lock timeout of a single try: claim does the waiting.
const once = time.Nanosecond

// claim opens a file, and has a relay that has it hand it over.
func claim(ctx context.Context, path, socket string, wait time.Duration, open func() error) error {
	if socket == "" {
		socket = path + ".sock"
	}
	if wait <= 0 {
		wait = outbox.DefaultLockTimeout
	}
	until, atMost := time.Now().Add(wait), time.Now().Add(max(wait, handoverTime))
	for {
		err := open()
		if !errors.Is(err, outbox.ErrLocked) || ctx.Err() != nil || time.Now().After(until) {
			return err
		}
		if askFor(ctx, socket, path) {
			until = atMost
		}
		<-time.After(retryOpen)
	}
}

func askFor(ctx context.Context, socket, path string) (handedOver bool) {
	client, err := DialFor(socket, path)
	if err != nil {
		return false
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return client.Handover(ctx) == nil
}
