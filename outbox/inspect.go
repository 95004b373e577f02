package outbox

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// inspect looks at a file before bbolt does: bbolt initialises an empty file without a word, and a truncated one ends the
// process with SIGBUS at the first touch of a page that is not there.
func inspect(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	first, seen := readMeta(f, 0)
	second, _ := readMeta(f, cmp.Or(seen, int64(os.Getpagesize())))
	// The size comes after, for the process that holds the file may make it grow. It cannot fail on a regular file.
	size, _ := f.Seek(0, io.SeekEnd)
	need := max(first, second)
	switch {
	case size == 0:
		return fmt.Errorf("%w: it is empty; restore a backup, or remove it to begin anew", ErrDamaged)
	case need <= 0:
		return fmt.Errorf("%w: no bbolt meta page with a right checksum; point to an outbox file, or restore a backup", ErrForeign)
	case size < need:
		return fmt.Errorf("%w: truncated to %d of at least %d bytes; restore a backup", ErrDamaged, size, need)
	}
	return nil
}

// readMeta reads the meta page at an offset: the bytes that the file must have, and the page size; 0 when it is not one.
func readMeta(f io.ReaderAt, at int64) (need, pageSize int64) {
	b := make([]byte, metaSize)
	if _, err := f.ReadAt(b, at+metaOffset); err != nil {
		return 0, 0
	}
	sum := fnv.New64a()
	sum.Write(b[:metaChecksum])
	if binary.LittleEndian.Uint32(b) != boltMagic || binary.LittleEndian.Uint32(b[4:]) != boltVersion ||
		binary.LittleEndian.Uint64(b[metaChecksum:]) != sum.Sum64() {
		return 0, 0
	}
	pageSize = int64(binary.LittleEndian.Uint32(b[metaPageSize:]))
	return int64(binary.LittleEndian.Uint64(b[metaPages:])) * pageSize, pageSize
}
