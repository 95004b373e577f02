package powerloss

import (
	"errors"
	"hash/maphash"
	"os"
	"slices"
)

// Sector is how many bytes a disk writes whole or not at all.
const Sector = 512

const pageSize = 4096

// page is a part of a file's content. It never changes.
type page struct {
	data [pageSize]byte
	sum  uint64
}

var seed = maphash.MakeSeed()

// content is the bytes of a file, which never change: each write makes another one, with which it shares the pages
// that are the same.
type content struct {
	size  int64
	pages []*page // nil: zeros, as is what is behind the last one
}

// write puts those sectors of data, which belongs at an offset, that keep selects, and grows the file as far as they reach.
func (c *content) write(offset int64, data []byte, keep func(sector int64) bool) *content {
	to := *c
	to.pages = slices.Clone(c.pages)
	var edited *page
	at := int64(-1) // of the page that is edited
	finish := func() {
		if edited != nil {
			edited.sum = maphash.Bytes(seed, edited.data[:])
		}
	}
	for from := offset; from < offset+int64(len(data)); {
		sector := from / Sector
		end := min((sector+1)*Sector, offset+int64(len(data)))
		if keep(sector) {
			if n := from / pageSize; n != at {
				finish()
				at = n
				edited = to.edit(n)
			}
			copy(edited.data[from%pageSize:], data[from-offset:end-offset])
			to.size = max(to.size, end)
		}
		from = end
	}
	finish()
	return &to
}

// edit makes a page that may be written to, in place of the one that is there.
func (c *content) edit(n int64) *page {
	for int64(len(c.pages)) <= n {
		c.pages = append(c.pages, nil)
	}
	p := &page{}
	if old := c.pages[n]; old != nil {
		p.data = old.data
	}
	c.pages[n] = p
	return p
}

// resize cuts the file off, or lets it end in zeros.
func (c *content) resize(size int64) *content {
	to := *c
	if to.size = size; size < c.size {
		to.pages = slices.Clone(c.pages[:min(int64(len(c.pages)), (size+pageSize-1)/pageSize)])
		if n := size / pageSize; n < int64(len(to.pages)) {
			p := to.edit(n)
			clear(p.data[size%pageSize:])
			p.sum = maphash.Bytes(seed, p.data[:])
		}
	}
	return &to
}

// sum is the same for the same bytes, within this process.
func (c *content) sum() uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	maphash.WriteComparable(&h, c.size)
	for n, p := range c.pages {
		if p != nil && p.sum != zeros {
			maphash.WriteComparable(&h, n)
			maphash.WriteComparable(&h, p.sum)
		}
	}
	return h.Sum64()
}

var zeros = maphash.Bytes(seed, make([]byte, pageSize))

// writeTo makes a file of it.
func (c *content) writeTo(path string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(c.size); err != nil {
		return err
	}
	for n, p := range c.pages {
		if p == nil || p.sum == zeros {
			continue
		}
		from := int64(n) * pageSize
		if _, err := f.WriteAt(p.data[:min(pageSize, c.size-from)], from); err != nil {
			return err
		}
	}
	return nil
}

// bytes is all of it.
func (c *content) bytes() []byte {
	b := make([]byte, c.size)
	for n, p := range c.pages {
		if p != nil {
			copy(b[n*pageSize:], p.data[:])
		}
	}
	return b
}
