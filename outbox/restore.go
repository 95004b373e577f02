package outbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// VerifyFunc verifies the outbox file at a path.
type VerifyFunc func(ctx context.Context, path string) (Report, error)

// VerifyFile opens the file at path, which must exist, and verifies it; see Outbox.Verify. A file that cannot be opened
// because it is damaged, or no outbox, has that as a problem: who expects an outbox there cannot tell one from the other.
// Nothing is written: the right to read the file is enough, and others may
// read it meanwhile.
func VerifyFile(ctx context.Context, path string) (Report, error) { return VerifyFileWith()(ctx, path) }

// Check looks, in an outbox that is sound, for problems of what the outbox knows nothing of, such as a processor's own
// state. Problems are sentences without payloads; an error means that it could not look.
type Check func(ctx context.Context, o *Outbox) (problems []string, err error)

// VerifyFileWith makes a VerifyFile that goes on with checks of the caller's where it has found no problem.
func VerifyFileWith(checks ...Check) VerifyFunc {
	return func(ctx context.Context, path string) (report Report, err error) {
		o, err := Open(path, Options{MustExist: true, ReadOnly: true})
		for _, wrecked := range []error{ErrDamaged, ErrForeign} {
			if errors.Is(err, wrecked) {
				_, what, _ := strings.Cut(err.Error(), wrecked.Error()+": ")
				what, _, _ = strings.Cut(what, "; ") // the next step is the caller's to say
				if wrecked == ErrForeign {
					what = wrecked.Error() + ": " + what
				}
				return Report{Problems: []string{what}}, nil
			}
		}
		if err != nil {
			return Report{Problems: []string{}}, err
		}
		defer func() { err = errors.Join(err, o.Close()) }()
		report, err = o.Verify(ctx)
		for i := 0; i < len(checks) && err == nil && len(report.Problems) == 0; i++ {
			var problems []string
			problems, err = checks[i](ctx, o)
			report.Problems = append(report.Problems, problems...)
		}
		return report, err
	}
}

// sound makes an error of what a verification has found.
func (verify VerifyFunc) sound(ctx context.Context, path string) (Report, error) {
	if verify == nil {
		verify = VerifyFile
	}
	report, err := verify(ctx, path)
	if err == nil && len(report.Problems) > 0 {
		more := ""
		if n := len(report.Problems) - 1; n > 0 {
			more = fmt.Sprintf(" (and %d more)", n)
		}
		err = fmt.Errorf("%w: %s%s", ErrDamaged, strings.TrimSuffix(report.Problems[0], "; restore a backup"), more)
	}
	return report, err
}

// RestoreOptions say how to restore.
type RestoreOptions struct {
	// Verify verifies the copy before it is put in place; nil means VerifyFile.
	Verify VerifyFunc
	// DryRun only looks whether the files are there and nobody holds them.
	DryRun bool
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// RestoreResult says what Restore did.
type RestoreResult struct {
	Path   string `json:"path"`
	Events int    `json:"events"`
	Bytes  int64  `json:"bytes"`
	// Aside is where the file that was there before is kept; "" when there was none. With DryRun its end, the time, is "<time>".
	Aside string `json:"aside"`
}

// Restore puts a copy of the backup in the place of the outbox file at path: it is copied beside it, verified, and
// renamed. A copy of the file that was there before, whatever its state, is kept under the name that the result tells; where there
// is no room for one, or the file cannot be read, the file itself is. On any error it stays where it is. Its lock is held meanwhile,
// so that nobody opens it, and before that is released the file is made unusable, unless it is kept itself: see New.
//
// The restored file is as it was, origin included. When Redis is ahead of it, the relay notices, and takes a fresh origin.
//
// Errors: ErrNotFound without a backup; *LockedError when a process has either file; ErrDamaged when the copy does not
// verify; ErrInvalid when both are the same file; ErrDiskFull.
func Restore(ctx context.Context, backup, path string, opts RestoreOptions) (result RestoreResult, err error) {
	if path, err = realPath(path); err != nil {
		return result, fmt.Errorf("restore: %w", err)
	}
	result.Path = path
	if err := restore(ctx, backup, opts, &result); err != nil {
		return RestoreResult{Path: path}, fmt.Errorf("restore %s: %w", path, fileError(path, err))
	}
	return result, nil
}

func restore(ctx context.Context, backup string, opts RestoreOptions, result *RestoreResult) error {
	source, err := lockFile(backup, syscall.LOCK_SH)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("backup %s: %w: there is no such file; check the path", backup, ErrNotFound)
	}
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	result.Bytes = info.Size()
	old, err := oldFile(result.Path, info)
	if err != nil {
		return err
	}
	if old != nil {
		defer old.Close()
		now := time.Now
		if opts.Now != nil {
			now = opts.Now
		}
		at := now().UTC().Format("20060102T150405.000Z")
		if opts.DryRun {
			at = "<time>"
		}
		result.Aside = result.Path + ".before-restore-" + at
	}
	if opts.DryRun {
		return nil
	}
	if err := makeFolder(filepath.Dir(result.Path)); err != nil {
		return err
	}
	draft, err := newDraft(result.Path, func(f *os.File) error {
		_, err := io.Copy(contextWriter{ctx, f}, source)
		return errors.Join(err, keepOwner(f, old))
	})
	if err != nil {
		return err
	}
	defer draft.close()
	report, err := opts.Verify.sound(ctx, draft.name)
	if err != nil {
		return fmt.Errorf("backup %s: %w", backup, withoutDraft(err, draft.name, backup))
	}
	result.Events = report.Events
	if old != nil {
		if err := keepAside(ctx, old, result.Path, result.Aside); err != nil {
			return err
		}
	}
	err = draft.place(result.Path, old != nil)
	if old == nil {
		return err
	}
	if err == nil {
		retire(old)
	} else if was, statErr := old.Stat(); statErr == nil && isAt(was, result.Path) { // it never moved
		_ = os.Remove(result.Aside)
	}
	return err
}

// keepAside keeps a copy of the file that is to be replaced, so that the file itself can be retired. Where there is no room for
// one, or the disk cannot read all of it, the file itself is kept, under a second name.
func keepAside(ctx context.Context, old *os.File, path, aside string) error {
	draft, err := newDraft(aside, func(f *os.File) error {
		_, err := io.Copy(contextWriter{ctx, f}, old)
		return errors.Join(err, keepOwner(f, old))
	})
	if err == nil {
		defer draft.close()
		return draft.place(aside, false)
	}
	if ctx.Err() != nil || link(path, aside) != nil {
		return err
	}
	return nil
}

// oldFile opens and locks the file that is to be replaced, or returns nil when there is none.
func oldFile(path string, backup os.FileInfo) (*os.File, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w: not a regular file", ErrForeign)
	case os.SameFile(info, backup):
		return nil, invalid("it is the backup itself")
	}
	return lockFile(path, syscall.LOCK_EX)
}

// lockFile opens a file with bbolt's kind of lock, which lasts until it is closed. It does not wait.
func lockFile(path string, how int) (*os.File, error) {
	mode := os.O_RDONLY
	if how&syscall.LOCK_EX != 0 {
		mode = os.O_RDWR // NFS gives an exclusive lock to nobody else
	}
	f, err := os.OpenFile(path, mode, 0)
	if mode == os.O_RDWR && (errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)) {
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w: not a regular file", path, ErrForeign)
	}
	if err == nil {
		if err = syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
			pid, command := lockHolder(info)
			err = &LockedError{Path: path, PID: pid, Command: command}
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	if !isAt(info, path) { // it was replaced before it was locked
		_ = f.Close()
		return lockFile(path, how)
	}
	return f, nil
}

// keepOwner gives a draft the owner of the file that it replaces, which matters when root does it.
func keepOwner(draft, old *os.File) error {
	if old == nil {
		return nil
	}
	info, err := old.Stat()
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t)
	if int(owner.Uid) == os.Geteuid() && int(owner.Gid) == os.Getegid() {
		return nil
	}
	return draft.Chown(int(owner.Uid), int(owner.Gid))
}

// withoutDraft names the file that people know instead of the draft, in what was found wrong.
func withoutDraft(err error, draft, name string) error {
	return &renamed{err, strings.ReplaceAll(err.Error(), draft, name)}
}

type renamed struct {
	error
	text string
}

func (r *renamed) Error() string { return r.text }
func (r *renamed) Unwrap() error { return r.error }
