package outbox

import (
	"log/slog"
	"time"
)

// Defaults of Options.
const (
	DefaultRetention     = 7 * 24 * time.Hour
	DefaultMaxBytes      = 4 << 30
	DefaultMaxEventBytes = 24 << 20
	DefaultLockTimeout   = time.Second
)

// UrgentReserve is how much of Options.MaxBytes is kept for urgent events (at most half of it).
const UrgentReserve = 16 << 20

// Options of an outbox. The zero value works.
type Options struct {
	// Retention is how long delivered events are kept after they were appended; 0 means DefaultRetention.
	Retention time.Duration
	// MaxBytes caps the live bytes of all events (bbolt files never shrink, so the file may be larger);
	// 0 means DefaultMaxBytes. On a 32-bit system 768 MiB is the most there is, and the file grows to 1 GiB at most: bbolt
	// could not open a larger one again.
	MaxBytes int64
	// MaxEventBytes caps one payload, uncompressed; 0 means DefaultMaxEventBytes, and 512 MiB is the most there is.
	MaxEventBytes int
	// LockTimeout is how long Open waits for another process to let go of the file; 0 means DefaultLockTimeout.
	LockTimeout time.Duration
	// MustExist makes Open fail with ErrNotFound instead of creating the file.
	MustExist bool
	// ReadOnly opens the file, which must exist, beside others who do the same: the right to read it is enough, and every write
	// is ErrInvalid.
	ReadOnly bool
	// Logger takes warnings; nil discards them. Payloads are never logged.
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

func (opts Options) withDefaults() Options {
	if opts.Retention <= 0 {
		opts.Retention = DefaultRetention
	}
	if opts.MaxBytes <= 0 {
		if opts.MaxBytes = DefaultMaxBytes; fileLimit > 0 {
			opts.MaxBytes = min(DefaultMaxBytes, largestMaxBytes(fileLimit))
		}
	}
	if opts.MaxEventBytes <= 0 {
		opts.MaxEventBytes = DefaultMaxEventBytes
	}
	opts.MaxEventBytes = min(opts.MaxEventBytes, maxPayload)
	if opts.LockTimeout <= 0 {
		opts.LockTimeout = DefaultLockTimeout
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return opts
}

// reserve is the part of MaxBytes that only urgent events may use.
func (opts Options) reserve() int64 { return min(UrgentReserve, opts.MaxBytes/2) }
