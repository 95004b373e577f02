package outbox

import (
	"fmt"
	"strconv"
)

// bbolt maps the whole file into memory. Where an address has 32 bits it maps 2 GiB at most (1 GiB on MIPS), in one piece: a file
// that has grown past that cannot be opened again.

// fileLimit is how many bytes the file may have; 0 means that the disk is the limit. Tests lower it.
var fileLimit = largestFile(strconv.IntSize)

// largestFile is the file limit of a system whose addresses have so many bits. Above 1 GiB bbolt would map 2 GiB at once, for
// which there is rarely a piece free.
func largestFile(bits int) int64 {
	if bits > 32 {
		return 0
	}
	return 1 << 30
}

// largestMaxBytes is the most that Options.MaxBytes may be under a file limit: a quarter of the file is for pages that are free,
// and for what is not the outbox's own.
func largestMaxBytes(fileLimit int64) int64 { return fileLimit / 4 * 3 }

// checkSize makes sure that the system can hold MaxBytes.
func (opts Options) checkSize() error {
	if most := largestMaxBytes(fileLimit); fileLimit > 0 && opts.MaxBytes > most {
		return invalid("Options.MaxBytes (OUTBOX_MAX_BYTES) is %d: on a %d-bit system, expected at most %d", opts.MaxBytes, strconv.IntSize, most)
	}
	return nil
}

// fileFullError: the file cannot grow any more. It is ErrFull to whoever appends, and ErrDiskFull to whoever tries again.
type fileFullError struct{}

func (fileFullError) Error() string {
	return fmt.Sprintf("%v: its file has reached %d bytes, the most that a %d-bit system can open again; deliver, replay or discard events, then run matchrelay compact",
		ErrFull, fileLimit, strconv.IntSize)
}

func (fileFullError) Is(target error) bool { return target == ErrFull || target == ErrDiskFull }
