package powerloss

import (
	"fmt"
	"maps"
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

func (d *Disk) takeOpen(c *Call) error {
	if c.End {
		delete(d.open, int(c.Returns))
	}
	if c.Path == d.marks {
		if c.End {
			d.open[int(c.Returns)] = &descriptor{path: c.Path}
		}
		return nil
	}
	folder, name, ok, err := d.find(c, c.Path)
	if err != nil || !ok {
		return err
	}
	if strings.Contains(c.Flags, "O_TMPFILE") {
		return fmt.Errorf("a file without a name")
	}
	n := folder
	if name != "" {
		n = folder.entries[name]
	}
	if n == nil {
		if !strings.Contains(c.Flags, "O_CREAT") {
			return fmt.Errorf("there is no such file")
		}
		n = d.newNode(false)
		d.enter(c, folder, name, n, "")
	} else if !c.End && strings.Contains(c.Flags, "O_TRUNC") && n.now.size > 0 {
		d.add(c, &change{node: n, resize: true})
	}
	if c.End {
		d.open[int(c.Returns)] = &descriptor{node: n, path: c.Path, append: strings.Contains(c.Flags, "O_APPEND")}
		d.completed(c)
	}
	return nil
}

func (d *Disk) takeWrite(c *Call) (Step, error) {
	f := d.open[c.FD]
	switch {
	case f == nil:
		return Step{}, nil
	case f.node == nil:
		if c.End {
			return Step{}, nil
		}
		return Step{Mark: string(c.Data)}, nil
	case c.End:
		d.completed(c)
		return Step{}, nil
	}
	if c.Name == "ftruncate" {
		d.add(c, &change{node: f.node, resize: true, size: c.Offset})
		return Step{Changed: true}, nil
	}
	data := c.Data[:c.Returns]
	offset := c.Offset
	if c.Name == "write" {
		if f.append {
			f.offset = f.node.now.size
		}
		offset = f.offset
		f.offset += c.Returns
	}
	d.add(c, &change{node: f.node, data: data, offset: offset})
	return Step{Changed: true}, nil
}

// takeNames takes a call that changes a folder.
func (d *Disk) takeNames(c *Call) error {
	if c.End {
		d.completed(c)
		return nil
	}
	folder, name, ok, err := d.find(c, c.Path)
	if err != nil {
		return err
	}
	if c.To == "" {
		if !ok {
			return nil
		}
		var entry *node
		if c.Name == "mkdirat" {
			entry = d.newNode(true)
		}
		d.enter(c, folder, name, entry, "")
		return nil
	}
	toFolder, toName, toOK, err := d.find(c, c.To)
	switch {
	case err != nil:
		return err
	case !ok && !toOK:
		return nil
	case folder != toFolder:
		return fmt.Errorf("from one folder to another (%s)", c.To)
	}
	entry := folder.entries[name]
	if entry == nil {
		return fmt.Errorf("there is no %s", name)
	}
	switch {
	case c.Name == "linkat":
		name = ""
	case toFolder.entries[toName] == entry: // POSIX: it does nothing
		return nil
	}
	d.enter(c, folder, toName, entry, name)
	return nil
}

func (d *Disk) enter(c *Call, folder *node, name string, entry *node, removes string) {
	d.add(c, &change{node: folder, name: name, entry: entry, removes: removes})
}

// add notes a change, and makes it for processes to see.
func (d *Disk) add(c *Call, made *change) {
	d.changes++
	made.number = d.changes
	if made.begun = c.ID; c.End {
		made.begun = -1
	}
	if made.node.folder {
		made.enter(made.node.entries)
	} else {
		made.node.now = made.apply(made.node.now, whole)
	}
	d.pending = append(d.pending, made)
}

// completed says that a call has returned.
func (d *Disk) completed(c *Call) {
	for _, p := range d.pending {
		if p.begun == c.ID {
			p.begun = -1
		}
	}
}

// enter makes a change of a folder.
func (ch *change) enter(entries map[string]*node) {
	if ch.removes != "" {
		delete(entries, ch.removes)
	}
	if ch.entry == nil {
		delete(entries, ch.name)
	} else {
		entries[ch.name] = ch.entry
	}
}

// takeSync makes durable, at the end of a sync, what had been done when it began.
func (d *Disk) takeSync(c *Call) (Step, error) {
	f := d.open[c.FD]
	if !c.End {
		if f == nil || f.node == nil {
			return Step{}, nil
		}
		covers := []*change{}
		for _, p := range d.pending {
			if p.node == f.node && p.begun < 0 {
				covers = append(covers, p)
			}
		}
		d.syncing[c.ID] = covers
		return Step{}, nil
	}
	covers, ok := d.syncing[c.ID]
	if !ok {
		return Step{}, nil
	}
	delete(d.syncing, c.ID)
	path, _ := filepath.Rel(d.root, f.path)
	step := Step{Changed: true, Sync: &Sync{Call: c.Name, Path: path, Folder: f.node.folder}}
	if d.Omit {
		for _, p := range covers {
			d.omitted[p] = true
		}
		return step, nil
	}
	done := map[*change]bool{}
	for _, p := range covers {
		if !slices.Contains(d.pending, p) {
			continue // another sync was faster
		}
		done[p] = true
		if p.node.folder {
			p.node.durable = maps.Clone(p.node.durable)
			p.enter(p.node.durable)
		} else {
			p.node.synced = p.apply(p.node.synced, whole)
		}
	}
	d.pending = slices.DeleteFunc(slices.Clone(d.pending), func(p *change) bool { return done[p] })
	return step, nil
}
