package outbox

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/disktest"
)

// names are the ways to make a file that gets its name when it is complete, in a process of its own.
var names = map[string]func(from, path string) error{
	"a new outbox": func(_, path string) error {
		o, err := Open(path, Options{})
		return errors.Join(err, o.Close())
	},
	"a backup": func(from, path string) error { return backUp(from, path, BackupOptions{Verify: VerifyFile}) },
	"a backup in the place of another": func(from, path string) error {
		return errors.Join(backUp(from, path, BackupOptions{}), backUp(from, path, BackupOptions{Overwrite: true}))
	},
	"a restored outbox": func(from, path string) error {
		_, err := Restore(ctx, from, path, RestoreOptions{})
		return err
	},
	"a restored outbox in the place of another": func(from, path string) error {
		_, first := Restore(ctx, from, path, RestoreOptions{})
		_, err := Restore(ctx, from, path, RestoreOptions{})
		return errors.Join(first, err)
	},
	"a compacted outbox": func(from, path string) error {
		if err := backUp(from, path, BackupOptions{}); err != nil {
			return err
		}
		_, err := Compact(ctx, path, nil)
		return err
	},
}

func backUp(from, path string, opts BackupOptions) error {
	o, err := Open(from, Options{})
	if err != nil {
		return err
	}
	_, err = o.BackupFile(ctx, path, opts)
	return errors.Join(err, o.Close())
}

func init() {
	children["name"] = func(args []string) error { return names[args[0]](args[1], args[2]) }
}

func TestDraft_IsOnTheDiskBeforeItGetsItsName(t *testing.T) {
	o := openTemp(t, Options{})
	for i := range 20 {
		add(t, o, event("a", fmt.Sprint(i)))
	}
	require.NoError(t, o.Close())
	for what := range names {
		t.Run(what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "named.db")
			calls := disktest.Trace(t, child("name", what, o.Path(), path))
			calls.RequireNamedDurably(t, path+".new-", path)
			requireSound(t, path)
		})
	}
}
