package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/outbox"
)

func (a *app) backupCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "backup", Short: "Copy the outbox file, verify a copy, put one back"})
	cmd.AddCommand(a.backupSaveCommand(), a.backupVerifyCommand(), a.backupRestoreCommand())
	return cmd
}

func (a *app) backupSaveCommand() *cobra.Command {
	var force bool
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "save FILE",
		Short: "Copy the outbox file as of one moment, while others use it",
		Long: `Save copies the file, with mode 0600, since it holds personal data. It gets its name when it is complete, on the disk, and
verified. A file that is there is not replaced, unless --force is given.

While a process has the outbox open, the copy comes through its control socket, and nothing has to stop. When none has it,
others can open it as soon as it is copied, while the copy is verified.`,
		Args: oneArgument,
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit <= 0 {
				return errNoLimit
			}
			return a.backupSave(cmd.Context(), args[0], outbox.BackupOptions{Overwrite: force, Verify: a.verifier(limit)})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace the file if there is one")
	cmd.Flags().DurationVar(&limit, "timeout", verifyLimit, "call the copy damaged when verifying it takes longer")
	return cmd
}

// saved is the result of backup save.
type saved struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

func (a *app) backupSave(ctx context.Context, path string, opts outbox.BackupOptions) (err error) {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	o, err := openToRead(ctx, cfg, a.logger(cfg))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	var n int64
	switch o := o.(type) {
	case *outbox.Outbox:
		verify := opts.Verify
		opts.Verify = func(ctx context.Context, draft string) (outbox.Report, error) {
			if err := o.Close(); err != nil { // the copy is complete: others may want the file
				return outbox.Report{}, err
			}
			return verify(ctx, draft)
		}
		n, err = o.BackupFile(ctx, path, opts)
	case *liveStore:
		n, err = outbox.SaveBackup(ctx, cfg.Outbox.Path, path, opts, func(w io.Writer) error {
			_, err := o.Backup(ctx, w)
			return err
		})
	}
	if errors.Is(err, outbox.ErrInvalid) { // the outbox itself
		return usageError(err)
	}
	if errors.Is(err, fs.ErrExist) {
		return exit(exitFailure, fmt.Errorf("%w; choose another name, or add --force to replace it", err))
	}
	if errors.Is(err, outbox.ErrDamaged) {
		return exit(exitUnverified, fmt.Errorf("%w; nothing was saved: see matchrelay check, and copy the file by hand, while no process has it, to keep it as it is", err))
	}
	if link := (*os.LinkError)(nil); errors.As(err, &link) && !opts.Overwrite {
		return exit(exitFailure, fmt.Errorf("%w; if no file of that name is there, add --force", err))
	}
	if err != nil {
		return err
	}
	return a.print(saved{path, n}, func(w io.Writer) {
		fmt.Fprintf(w, "%s saved and verified, %s\n", path, byteText(n))
	})
}

func (a *app) backupVerifyCommand() *cobra.Command {
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Verify a copy: exit code 0 when it is sound, 5 when it is not",
		Args:  oneArgument,
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit <= 0 {
				return errNoLimit
			}
			if _, err := os.Stat(args[0]); err != nil {
				return fmt.Errorf("verify: %w", err)
			}
			report, err := a.verifier(limit)(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printReport(args[0], report, "use another backup")
		},
	}
	cmd.Flags().DurationVar(&limit, "timeout", verifyLimit, "call it damaged when it takes longer")
	return cmd
}

// restoreFlags are the flags of backup restore.
type restoreFlags struct {
	dryRun, yes bool
	limit       time.Duration
}

func (a *app) backupRestoreCommand() *cobra.Command {
	var flags restoreFlags
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a verified copy in the place of the outbox file",
		Long: `Restore copies FILE beside the outbox file, verifies the copy, and gives it the file's name; FILE itself stays. The file
that was there is kept as <file>.before-restore-<time>. While a process has the file, nothing is done and the exit code
is 4. Without a terminal to ask on, nothing is done unless --yes is given.

The restored file is exactly what was saved. Events recorded since then are not in it, and those delivered since then are
pending again. When Redis is ahead of the file, the relay notices at its next start: it takes a fresh origin (the next
epoch), raises an alert, and sends the pending ones, so that subscribers may see some a second time, with the same
message IDs. When Redis is not ahead, it is simply the same file, and the relay goes on where it stands.`,
		Args: oneArgument,
		RunE: func(cmd *cobra.Command, args []string) error { return a.backupRestore(cmd.Context(), args[0], flags) },
	}
	cmd.Flags().BoolVar(&flags.dryRun, "dry-run", false, "verify FILE, say what would be done, do nothing")
	cmd.Flags().BoolVar(&flags.yes, "yes", false, "do not ask")
	cmd.Flags().DurationVar(&flags.limit, "timeout", verifyLimit, "call FILE damaged when verifying it takes longer")
	return cmd
}

func (a *app) backupRestore(ctx context.Context, file string, flags restoreFlags) error {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	if flags.limit <= 0 {
		return errNoLimit
	}
	opts := outbox.RestoreOptions{DryRun: true, Verify: a.verifier(flags.limit)}
	plan, err := outbox.Restore(ctx, file, cfg.Outbox.Path, opts)
	if errors.Is(err, outbox.ErrInvalid) { // the outbox itself
		return usageError(err)
	}
	if err != nil {
		return err
	}
	if flags.dryRun || !flags.yes {
		report, err := opts.Verify(ctx, file)
		if err == nil && len(report.Problems) > 0 {
			return a.printReport(file, report, "use another backup; nothing was done")
		}
		if err != nil {
			return err
		}
		plan.Events = report.Events
		write := func(w io.Writer) { writeRestorePlan(w, file, plan) }
		if flags.dryRun {
			return a.print(plan, write)
		}
		question := fmt.Sprintf("Put %s (%s) in the place of %s?", file, count(plan.Events, "event"), plan.Path)
		if err := a.confirm(ctx, question, write); err != nil {
			return err
		}
	}
	opts.DryRun = false
	result, err := outbox.Restore(ctx, file, cfg.Outbox.Path, opts)
	if errors.Is(err, outbox.ErrDamaged) {
		return exit(exitUnverified, fmt.Errorf("%w; use another backup; nothing was done", err))
	}
	if err != nil {
		return err
	}
	return a.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "%s restored: %s, %s\n", result.Path, count(result.Events, "event"), byteText(result.Bytes))
		if result.Aside != "" {
			fmt.Fprintf(w, "the file that was there is kept as %s\n", result.Aside)
		}
	})
}

func writeRestorePlan(w io.Writer, file string, plan outbox.RestoreResult) {
	fmt.Fprintf(w, "%s is sound: %s, %s; it would become %s", file, count(plan.Events, "event"), byteText(plan.Bytes), plan.Path)
	if plan.Aside != "" {
		fmt.Fprint(w, ", and what is there would be kept as <file>.before-restore-<time>")
	}
	fmt.Fprintln(w, "; nothing was done")
}
