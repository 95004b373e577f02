package torture

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// smallDisk is a file system of 96 MiB with a path that is short enough for a socket.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mr")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("this test mounts a small tmpfs: run it as root, or in a namespace of its own (unshare --map-root-user --mount): %s", out)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func ballast(dir string) string { return filepath.Join(dir, "ballast") }

// fill takes what is left of a disk.
func fill(dir string) error {
	f, err := os.Create(ballast(dir))
	if err != nil {
		return err
	}
	for size := 1 << 20; size > 0 && err == nil; size /= 2 {
		for err == nil {
			_, err = f.Write(make([]byte, size))
		}
		if errors.Is(err, syscall.ENOSPC) {
			err = nil
		}
	}
	return errors.Join(err, f.Close())
}

func (r *rig) onDisk(a action) {
	var err error
	if a.what == "fill" {
		r.tails.disk(true)
		err = fill(r.disk)
	} else {
		if err = os.Remove(ballast(r.disk)); os.IsNotExist(err) {
			err = nil
		}
		r.tails.disk(false)
	}
	if err != nil {
		r.find("%s the disk: %v", a.what, err)
	}
}
