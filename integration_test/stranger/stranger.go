// Package stranger is for tests that need another user.
package stranger

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// ID is that user's, and its group's.
const ID = 65534

// Try says whether this process can have another user, and why not: only root can, and not in a user namespace that maps no other.
func Try(t testing.TB) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "given away")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return os.Chown(path, ID, ID)
}

// Need skips a test that cannot have another user, and says so.
func Need(t testing.TB) {
	t.Helper()
	if err := Try(t); err != nil {
		fmt.Printf("note: %s is skipped: it needs another user; run it as root, outside of a user namespace: %v\n", t.Name(), err)
		t.SkipNow()
	}
}
