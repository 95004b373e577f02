package powerloss

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// A Disk knows what must be on the disk, and what may be, after each of the
// calls that it has taken.
type Disk struct {
	// Omit makes the sync that ends now do nothing.
	Omit bool

	root    string
	marks   string
	process int
	folder  *node
	open    map[int]*descriptor // of the process; only of files that matter
	pending []*change           // not synced, the oldest first
	syncing map[int][]*change   // what a sync covers that has begun and not ended, by the call's ID
	omitted map[*change]bool    // by a sync that did nothing
	changes int
	nodes   int
}

// node is a file or a folder, whatever names it has.
type node struct {
	id      int
	folder  bool
	synced  *content         // of a file
	now     *content         // as processes see it
	entries map[string]*node // of a folder, as processes see it
	durable map[string]*node // of a folder, synced
}

// descriptor is an open file.
type descriptor struct {
	node   *node // nil: the marks
	path   string
	offset int64
	append bool
}

// change is one that is not synced.
type change struct {
	number int
	node   *node // the file that was written, or the folder
	begun  int   // the ID of its call while that has not returned; else -1

	data   []byte // of a write
	offset int64

	resize bool
	size   int64

	name    string // of the entry that a change of a folder sets
	entry   *node  // nil: it is removed
	removes string // a rename removes this one, too
}

// A Step is what a call meant to the disk.
type Step struct {
	Mark    string // what the process said, or ""
	Changed bool   // what a cut could leave may be another than before
	Sync    *Sync  // of which the call is the end
}

// A Sync is one that has been done.
type Sync struct {
	Call   string // fsync, fdatasync
	Path   string // by which the file was opened, below the root
	Folder bool
}

// NewDisk makes a disk that holds an empty folder at root, and hears marks.
func NewDisk(root, marks string) *Disk {
	d := &Disk{root: root, marks: marks, omitted: map[*change]bool{}, open: map[int]*descriptor{}, syncing: map[int][]*change{}}
	d.folder = d.newNode(true)
	return d
}

func (d *Disk) newNode(folder bool) *node {
	d.nodes++
	n := &node{id: d.nodes, folder: folder, synced: &content{}, now: &content{}}
	if folder {
		n.entries, n.durable = map[string]*node{}, map[string]*node{}
	}
	return n
}

// Omitted says whether anything is still pending because of Omit.
func (d *Disk) Omitted() bool {
	return slices.ContainsFunc(d.pending, func(p *change) bool { return d.omitted[p] })
}

// Take takes the next call.
func (d *Disk) Take(c *Call) (Step, error) {
	if c.Process != d.process { // the one before has ended
		d.process = c.Process
		clear(d.open)
		clear(d.syncing)
		for _, p := range d.pending {
			p.begun = -1
		}
	}
	step, err := d.take(c)
	if err != nil {
		return step, fmt.Errorf("%s (descriptor %d, path %q, flags %s): %w", c.Name, c.FD, c.Path, c.Flags, err)
	}
	return step, nil
}

func (d *Disk) take(c *Call) (step Step, err error) {
	before := d.changes
	switch c.Name {
	case "openat":
		err = d.takeOpen(c)
	case "close":
		if !c.End { // while it runs, another thread may get the number
			delete(d.open, c.FD)
		}
	case "lseek":
		if f := d.open[c.FD]; f != nil && c.End {
			f.offset = c.Returns
		}
	case "write", "pwrite64", "ftruncate":
		return d.takeWrite(c)
	case "fsync", "fdatasync":
		return d.takeSync(c)
	case "mkdirat", "linkat", "unlinkat", "renameat", "renameat2":
		err = d.takeNames(c)
	case "mmap":
		if f := d.open[c.FD]; f != nil && f.node != nil && strings.Contains(c.Flags, "PROT_WRITE") && strings.Contains(c.Flags, "MAP_SHARED") {
			err = fmt.Errorf("%s is written to by a map", f.path)
		}
	case "dup", "dup2", "dup3", "fcntl":
		if d.open[c.FD] != nil && c.duplicates() {
			err = fmt.Errorf("a second descriptor of %s", d.open[c.FD].path)
		}
	default:
		if d.open[c.FD] != nil || strings.Contains(c.Name, "io_uring") || strings.Contains(c.Flags, `"`) && !c.End {
			err = fmt.Errorf("the model does not know this call")
		}
	}
	return Step{Changed: d.changes != before}, err
}

// find resolves a path; ok says whether it is below the root.
func (d *Disk) find(c *Call, path string) (folder *node, name string, ok bool, err error) {
	relative, ok := strings.CutPrefix(filepath.Clean(path), d.root)
	if !ok || relative != "" && relative[0] != '/' {
		if !filepath.IsAbs(path) && c.FD >= 0 && d.open[c.FD] != nil {
			err = fmt.Errorf("a path that is relative to a folder")
		}
		return nil, "", false, err
	}
	folder = d.folder
	parts := strings.FieldsFunc(relative, func(r rune) bool { return r == '/' })
	for i, part := range parts {
		if i == len(parts)-1 {
			return folder, part, true, nil
		}
		if folder = folder.entries[part]; folder == nil || !folder.folder {
			return nil, "", true, fmt.Errorf("there is no folder %s", part)
		}
	}
	return folder, "", true, nil
}
