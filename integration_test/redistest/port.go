package redistest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// freePort looks below the range that the kernel takes the ports of outgoing
// connections from: one of those could sit on the port while the server is down.
func freePort(t testing.TB) int {
	t.Helper()
	return freePorts(t, 15000, 32000)
}

// freePorts is a port from the range that is free, as are those that are some
// steps above it. They belong to the test until it ends.
func freePorts(t testing.TB, lowest, highest int, above ...int) int {
	t.Helper()
	for range 100 {
		port := lowest + rand.IntN(highest-lowest)
		if !slices.ContainsFunc(append(above, 0), func(step int) bool { return !reserve(t, port+step) || !free(port+step) }) {
			return port
		}
	}
	t.Fatalf("no free port between %d and %d", lowest, highest)
	return 0
}

func free(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err == nil {
		_ = l.Close()
	}
	return err == nil
}

// reserve keeps a port from the tests of other packages, which run at the same
// time in processes of their own: by the lock of a file, which ends with the
// process if not with the test.
func reserve(t testing.TB, port int) bool {
	t.Helper()
	folder := filepath.Join(os.TempDir(), "redistest-ports")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(filepath.Join(folder, fmt.Sprint(port)), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			t.Fatal(err)
		}
		return false
	}
	t.Cleanup(func() { _ = file.Close() })
	return true
}
