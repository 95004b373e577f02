// Package damage holds the program to what it does with an outbox file that is damaged: whatever command meets with it ends by
// itself, says so, and tells or delivers nothing that is not so.
package damage

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// pageSize is that of bbolt on most systems; elsewhere what is damaged lies elsewhere.
const pageSize = 4096

// damage returns a copy of a file of pages with something in it that is not what it was, and says what.
func damage(d *rand.Rand, whole []byte) ([]byte, string) {
	file := append([]byte{}, whole...)
	pages := len(file) / pageSize
	page := d.IntN(pages)
	of := file[page*pageSize:][:pageSize]
	flip := func(at int) string {
		bit := byte(1) << d.IntN(8)
		of[at] ^= bit
		return fmt.Sprintf("page %d, byte %d: %#02x instead of %#02x", page, at, of[at], of[at]^bit)
	}
	switch d.IntN(10) {
	case 0, 1: // what kind of page it is, and how many elements it has
		return file, flip(d.IntN(16))
	case 2, 3: // where its elements are
		n := int(binary.LittleEndian.Uint16(of[10:]))
		return file, flip(min(16+d.IntN(1+16*n), pageSize-1))
	case 4, 5, 6:
		return file, flip(d.IntN(pageSize))
	case 7:
		clear(of)
		return file, fmt.Sprintf("page %d is all zeros", page)
	case 8:
		other := d.IntN(pages)
		copy(of, whole[other*pageSize:][:pageSize])
		return file, fmt.Sprintf("page %d is what page %d is", page, other)
	}
	size := page * pageSize
	if d.IntN(2) == 0 {
		size += d.IntN(pageSize)
	}
	return file[:size], fmt.Sprintf("cut off after %d of %d bytes", size, len(file))
}
