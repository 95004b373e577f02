package powerloss

import (
	"fmt"
	"strings"
)

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
