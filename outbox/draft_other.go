//go:build !linux

package outbox

import (
	"errors"
	"os"
)

// renameNew would rename a file to a name that must be free.
func renameNew(from, to string) error {
	return &os.LinkError{Op: "rename", Old: from, New: to, Err: errors.ErrUnsupported}
}
