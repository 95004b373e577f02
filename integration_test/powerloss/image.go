package powerloss

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// An Image is a folder's whole content: files by their path below it. A folder
// is there as nil.
type Image map[string]*content

// image puts together what is durable and so much of what is pending.
func (d *Disk) image(parts []*part) Image {
	contents := map[*node]*content{}
	entries := map[*node]map[string]*node{}
	stopped := map[*node]bool{} // a folder of which a change is missing: later ones are, too
	for i, p := range d.pending {
		switch {
		case !p.node.folder:
			before, ok := contents[p.node]
			if !ok {
				before = p.node.synced
			}
			contents[p.node] = p.apply(before, parts[i])
		case parts[i] == nothing || stopped[p.node]:
			stopped[p.node] = true
		default:
			if entries[p.node] == nil {
				entries[p.node] = maps.Clone(p.node.durable)
			}
			p.enter(entries[p.node])
		}
	}
	image := Image{}
	var walk func(folder *node, path string)
	walk = func(folder *node, path string) {
		names, ok := entries[folder]
		if !ok {
			names = folder.durable
		}
		for name, n := range names {
			at := filepath.Join(path, name)
			if n.folder {
				image[at] = nil
				walk(n, at)
			} else if c, ok := contents[n]; ok {
				image[at] = c
			} else {
				image[at] = n.synced
			}
		}
	}
	walk(d.folder, "")
	return image
}

// Sum is the same for the same image, within this process.
func (im Image) Sum() uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	for _, path := range slices.Sorted(maps.Keys(im)) {
		h.WriteString(path)
		if c := im[path]; c != nil {
			maphash.WriteComparable(&h, c.sum())
		}
	}
	return h.Sum64()
}

// Leave makes a folder that holds the image and nothing else.
func (im Image) Leave(folder string) error {
	return errors.Join(os.RemoveAll(folder), os.Mkdir(folder, 0o700), im.WriteTo(folder))
}

// WriteTo makes the image's files in a folder.
func (im Image) WriteTo(folder string) error {
	for _, path := range slices.Sorted(maps.Keys(im)) {
		at := filepath.Join(folder, path)
		if im[path] == nil {
			if err := os.Mkdir(at, 0o700); err != nil {
				return err
			}
		} else if err := im[path].writeTo(at); err != nil {
			return err
		}
	}
	return nil
}

// Compare says where a folder differs: the one that was recorded is as the last
// image, or a call was missed.
func (im Image) Compare(folder string) error {
	left := maps.Clone(im)
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == folder {
			return err
		}
		name, _ := filepath.Rel(folder, path)
		c, ok := left[name]
		if delete(left, name); !ok || (c == nil) != entry.IsDir() {
			return fmt.Errorf("%s is there and should not be", name)
		}
		if c == nil {
			return nil
		}
		b, err := os.ReadFile(path)
		if err == nil && !bytes.Equal(b, c.bytes()) {
			err = fmt.Errorf("%s has other bytes than were written", name)
		}
		return err
	})
	for name := range left {
		return fmt.Errorf("%s is missing", name)
	}
	return err
}

// HeadSum is the same for the same first bytes, where bbolt has its meta pages; 0
// where there is no file of that path.
func (im Image) HeadSum(path string) uint64 {
	c := im[path]
	if c == nil {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(seed)
	for _, p := range c.pages[:min(2, len(c.pages))] {
		if p != nil {
			maphash.WriteComparable(&h, p.sum)
		}
	}
	return h.Sum64()
}
