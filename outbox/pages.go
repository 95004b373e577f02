package outbox

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// A page of bbolt, all numbers little endian:
//
//	offset  bytes  field
//	     0      8  its number
//	     8      2  type: 1 branch, 2 leaf, 4 meta, 16 free pages
//	    10      2  how many elements it has
//	    12      4  how many pages more it goes on for
//	    16  16 x n  elements; keys and values come after the last one
//
// An element of a branch is: offset of its key from the element's own (4), size of the key (4), number of the page below (8).
// One of a leaf: flags (4; 1: the value is a bucket), offset of its key (4), size of the key (4), size of the value (4), which
// follows the key. A bucket's value begins with the number of its root page (8) and its counter (8); when the number is 0, its
// only page follows.
const (
	pageHeader   = 16
	pageElement  = 16
	pageBranch   = 1
	pageLeaf     = 2
	bucketHeader = 16
)

// verifyPages keeps writers away, for bbolt compares the pages with its list of free ones in memory, which they change.
func (o *Outbox) verifyPages(ctx context.Context, v *verifier) error {
	if inClosure() {
		return ErrNested
	}
	file := o.file
	if file == nil { // a database of the caller's
		var err error
		if file, err = os.Open(o.path); err != nil {
			return err
		}
		defer file.Close()
	}
	return o.submit(&call{ctx: ctx, apart: func(tx *bolt.Tx) error {
		return survive(func() error { return v.pages(tx, file) })
	}})
}

// pages reads everything, also what is not the outbox's own, and has bbolt check its pages. bbolt does that in a goroutine,
// where a page that cannot be read would end the process, follows pages that lead in circles, and goes through as many as a
// damaged header claims, if it is billions: hence all this is looked at here before.
func (v *verifier) pages(tx *bolt.Tx, file io.ReaderAt) error {
	w := pageWalk{file, int64(tx.DB().Info().PageSize), 0, map[int64]bool{}}
	w.pages = tx.Size() / w.size
	for id := int64(0); id < w.pages; id++ {
		page, _ := tx.Page(int(id)) // fails only in a transaction that has ended
		if page.Type == "free" {
			continue
		}
		more := int64(uint32(page.OverflowCount)) // below 0 where an int has 32 bits
		if id += more; id >= w.pages {
			return fmt.Errorf("%w: page %d claims to go on for %d pages, the file has %d; restore a backup", ErrDamaged, page.ID, more, w.pages)
		}
	}
	if err := w.page(int64(tx.Cursor().Bucket().Root())); err != nil {
		return err
	}
	for err := range tx.Check() {
		v.problem("bbolt: %s", strings.TrimPrefix(err.Error(), "panic: ")) // it recovers from what a page ends its checks in
	}
	return nil
}

// pageWalk follows the pages of a file from its root: each is met once, and what it has lies within it.
type pageWalk struct {
	file  io.ReaderAt
	size  int64 // of a page
	pages int64
	seen  map[int64]bool
}

// page reads a page, and all below it.
func (w *pageWalk) page(id int64) error {
	if id < 2 || id >= w.pages || w.seen[id] {
		return fmt.Errorf("%w: page %d is pointed to, which is not there, or is another's; restore a backup", ErrDamaged, id)
	}
	w.seen[id] = true
	header := make([]byte, pageHeader)
	if _, err := w.file.ReadAt(header, id*w.size); err != nil {
		return fmt.Errorf("%w: page %d cannot be read: %w; restore a backup", ErrDamaged, id, err)
	}
	more := int64(binary.LittleEndian.Uint32(header[12:]))
	if id+more >= w.pages {
		return fmt.Errorf("%w: page %d claims to go on for %d pages, the file has %d; restore a backup", ErrDamaged, id, more, w.pages)
	}
	page := make([]byte, (1+more)*w.size)
	if _, err := w.file.ReadAt(page, id*w.size); err != nil {
		return fmt.Errorf("%w: page %d cannot be read: %w; restore a backup", ErrDamaged, id, err)
	}
	return w.elements(id, page)
}

// elements looks at what a page has.
func (w *pageWalk) elements(id int64, page []byte) error {
	number := binary.LittleEndian.Uint32
	odd := func(what string) error {
		return fmt.Errorf("%w: page %d %s; restore a backup", ErrDamaged, id, what)
	}
	kind := binary.LittleEndian.Uint16(page[8:])
	if kind != pageBranch && kind != pageLeaf {
		return odd("is neither a branch nor a leaf")
	}
	for i := range int(binary.LittleEndian.Uint16(page[10:])) {
		at := pageHeader + i*pageElement
		if at+pageElement > len(page) {
			return odd("has more elements than fit")
		}
		element := page[at:]
		if kind == pageBranch {
			if uint64(at)+uint64(number(element))+uint64(number(element[4:])) > uint64(len(page)) {
				return odd("has a key outside of it")
			}
			if err := w.page(int64(binary.LittleEndian.Uint64(element[8:]))); err != nil {
				return err
			}
			continue
		}
		value := uint64(at) + uint64(number(element[4:])) + uint64(number(element[8:]))
		size := uint64(number(element[12:]))
		switch isBucket := number(element)&1 != 0; {
		case value+size > uint64(len(page)):
			return odd("has a value outside of it")
		case isBucket && size < bucketHeader:
			return odd("has a bucket that is cut off")
		case isBucket:
			if err := w.bucket(id, page[value:value+size]); err != nil {
				return err
			}
		}
	}
	return nil
}

// bucket looks at what a page has of a bucket.
func (w *pageWalk) bucket(id int64, value []byte) error {
	if root := int64(binary.LittleEndian.Uint64(value)); root != 0 {
		return w.page(root)
	}
	if inline := value[bucketHeader:]; len(inline) >= pageHeader {
		return w.elements(id, inline)
	}
	return fmt.Errorf("%w: page %d has a bucket that is cut off; restore a backup", ErrDamaged, id)
}
