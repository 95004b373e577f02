package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	bolt "go.etcd.io/bbolt"
)

// BackupOptions say how BackupFile and SaveBackup make a file.
type BackupOptions struct {
	// Overwrite replaces a file that is there already, atomically and after the new copy is complete, but never an outbox that a
	// process has open.
	Overwrite bool
	// Verify verifies the copy before it gets its name; nil means that it is not verified.
	Verify VerifyFunc
}

// Backup writes a copy of the file, as of one commit, while others go on writing; it returns the number of bytes. The copy
// holds everything in the file, also the processor's own buckets.
//
// It is read in one read transaction, in which bbolt reuses no page that is freed, and a writer that outgrows the memory
// map waits. So that a slow w cannot make this long, the copy goes to a nameless file in the outbox's folder first, which
// takes as long as reading and writing that many bytes locally (measured: 0.35 s for 320 MB, and no commit meanwhile took
// longer than 0.12 s), and needs as much room; only then to w. BackupFile needs the room once, in the folder of its file,
// which should be on a local disk for the same reason.
//
// Errors: ErrDamaged when the file was truncated; ErrDiskFull, ErrNested, ErrClosed, ctx.Err(), those of w.
func (o *Outbox) Backup(ctx context.Context, w io.Writer) (n int64, err error) {
	_ = o.Flush(ctx) // without it the copy's counters are older, not wrong
	spool, err := newDraft(o.path, func(f *os.File) error {
		_ = os.Remove(f.Name()) // it is gone with this process, whatever happens
		return o.copyTo(ctx, f)
	})
	if err == nil {
		defer spool.close()
		_, err = spool.file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return 0, fmt.Errorf("back up: %w", fileError(o.path, err))
	}
	if n, err = io.Copy(contextWriter{ctx, w}, spool.file); err != nil {
		return n, fmt.Errorf("back up: %w", err)
	}
	return n, nil
}

// BackupFile makes a file of the copy that Backup describes, with mode 0600. It gets its name when it is complete, on the
// disk, and verified if BackupOptions.Verify is set; on any error there is no file, or the one that was there before. A
// process that is killed meanwhile may leave a <path>.new-<UUID> behind, and so may Restore and Compact: each of them
// removes those that it finds in its folder, when they are a minute old and no process works on them.
//
// Errors: fs.ErrExist when there is one and BackupOptions.Overwrite is not set; ErrInvalid when it is the outbox itself, or
// no regular file; a *LockedError when it is another outbox, which a process has open; ErrDamaged when the copy does not verify;
// those of Backup.
func (o *Outbox) BackupFile(ctx context.Context, path string, opts BackupOptions) (n int64, err error) {
	_ = o.Flush(ctx)
	return SaveBackup(ctx, o.path, path, opts, func(w io.Writer) error { return o.copyTo(ctx, w) })
}

// SaveBackup is BackupFile for a copy that comes from elsewhere, such as the process that has the outbox at source open:
// write writes it.
func SaveBackup(ctx context.Context, source, path string, opts BackupOptions, write func(w io.Writer) error) (n int64, err error) {
	if n, err = saveBackup(ctx, source, path, opts, write); err != nil {
		return 0, fmt.Errorf("back up to %s: %w", path, fileError(path, err))
	}
	return n, nil
}

func saveBackup(ctx context.Context, source, path string, opts BackupOptions, write func(w io.Writer) error) (int64, error) {
	target, err := lockTarget(source, path, opts.Overwrite)
	if err != nil {
		return 0, err
	}
	_ = target.Close() // it may be used until the copy is complete
	draft, err := newDraft(path, func(f *os.File) error { return write(f) })
	if err != nil {
		return 0, err
	}
	defer draft.close()
	info, err := draft.file.Stat()
	if err != nil {
		return 0, err
	}
	if opts.Verify != nil {
		if _, err := opts.Verify.sound(ctx, draft.name); err != nil {
			return 0, fmt.Errorf("the copy does not verify: %w", withoutDraft(err, draft.name, "copy"))
		}
	}
	if target, err = lockTarget(source, path, opts.Overwrite); err != nil {
		return 0, err
	}
	defer target.Close()
	return info.Size(), draft.place(path, target != nil) // a file that has appeared since is an error
}

// VerifyCopy verifies a copy of the outbox at path that write writes, such as one of the process that has it open, and removes
// it. It stands beside the file meanwhile, and needs as much room.
func VerifyCopy(ctx context.Context, path string, verify VerifyFunc, write func(w io.Writer) error) (report Report, err error) {
	path, err = realPath(path)
	var draft *draft
	if err == nil {
		draft, err = newDraft(path, func(f *os.File) error { return write(f) })
	}
	if err == nil {
		report, err = verify(ctx, draft.name)
		err = errors.Join(err, draft.close())
	}
	if err != nil {
		return report, fmt.Errorf("verify a copy of %s: %w", path, fileError(path, err))
	}
	return report, nil
}

// lockTarget says why a copy of the outbox at source must not become the file at path. It returns that file, nil when there is
// none, with a lock that keeps others from writing to it until it is closed.
func lockTarget(source, path string, overwrite bool) (*os.File, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, invalid("it is no regular file")
	}
	if own, err := os.Stat(source); err == nil && os.SameFile(own, info) {
		return nil, invalid("it is the outbox itself")
	}
	if !overwrite {
		return nil, fs.ErrExist
	}
	f, err := lockFile(path, syscall.LOCK_SH)
	if errors.Is(err, ErrLocked) {
		err = fmt.Errorf("it is an outbox that is in use, choose another name: %w", err)
	}
	return f, err
}

// copyTo writes the file as of now.
func (o *Outbox) copyTo(ctx context.Context, w io.Writer) error {
	return o.View(func(tx *bolt.Tx) error {
		_, err := tx.WriteTo(contextWriter{ctx, w})
		switch {
		case err == nil:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%w: it was truncated; restore a backup", ErrDamaged)
		}
		return cmp.Or(ctx.Err(), err) // bbolt keeps only the text
	})
}

// contextWriter fails when its context has ended.
type contextWriter struct {
	ctx context.Context
	w   io.Writer
}

func (w contextWriter) Write(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.w.Write(b)
}
