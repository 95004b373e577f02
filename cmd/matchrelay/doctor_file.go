package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// From when on the doctor is not content.
const (
	leastFree   = 64 << 20 // bytes on the disk
	mostWait    = time.Minute
	mostSkew    = 5 * time.Second
	mostFull    = 0.9     // of maxmemory
	eventMargin = 1 << 20 // bytes that Redis needs beside an event's own
)

func checkFile(p *patient, c *check) {
	switch {
	case p.fileErr != nil:
		_, text := explain(p.fileErr)
		c.fail("do as it says, or point MATCHRELAY_DB to the right file", "%s", text)
	case p.file == nil:
		c.ok("%s is not made yet; the first match list makes it", p.path)
	case p.stats != nil:
		c.ok("%s, %s, %s", p.path, count(int(p.stats.Events), "event"), byteText(p.stats.FileBytes))
	default:
		c.ok("%s, %s; %s", p.path, byteText(p.file.Size()), p.unopened)
	}
	if p.file != nil {
		if mode := p.file.Mode().Perm(); mode&0o077 != 0 {
			c.fail("chmod 600 "+p.path, "its mode is %04o: others can read personal data", mode)
		}
		if owner, me := ownerOf(p.file), os.Geteuid(); owner != me {
			c.warn(fmt.Sprintf("run as the user %d, or chown it to %d", owner, me), "it belongs to the user %d, this is %d", owner, me)
		}
	}
	socket := p.cfg.Outbox.Socket
	switch info, err := os.Lstat(socket); {
	case err != nil:
		if !errors.Is(err, fs.ErrNotExist) {
			c.warn("", "the socket cannot be looked at: %v", err)
		}
	case info.Mode().Type() != fs.ModeSocket:
		c.fail("remove it, or point MATCHRELAY_SOCKET elsewhere", "%s is no socket", socket)
	case info.Mode().Perm()&0o077 != 0:
		c.fail("chmod 600 "+socket, "the socket's mode is %04o: others can use it", info.Mode().Perm())
	default:
		if owner := ownerOf(info); owner != 0 && owner != os.Geteuid() && (p.file == nil || owner != ownerOf(p.file)) {
			c.fail(fmt.Sprintf("run as the user %d if it is their outbox that you want, or point MATCHRELAY_SOCKET elsewhere", owner),
				"%s belongs to the user %d: nothing is sent to it", socket, owner)
		}
	}
}

func ownerOf(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

// checkPreviousList reads the list that an outbox without one begins with, as run and ingest will.
func checkPreviousList(p *patient, c *check) {
	if p.list == nil {
		c.skip("it cannot be told whether a match list is recorded")
		return
	}
	if *p.list {
		c.ok("not needed: a match list is recorded")
		return
	}
	switch matches, found, err := readPrevious(p.cfg); {
	case err != nil:
		what, _, _ := strings.Cut(err.Error(), "; ")
		c.fail("correct the setting or the file, or take both away to begin without a list", "%s", what)
	case found:
		c.ok("%s, %s: the first list", p.cfg.Processor.PreviousMatches, count(len(matches), "match"))
	default:
		c.ok("none: the first match list is all new")
	}
}

func checkDisk(p *patient, c *check) {
	if p.folderNow == nil {
		c.fail("check MATCHRELAY_DB and DATA_FOLDER", "no folder above %s can be looked at", p.path)
		return
	}
	used := int64(0)
	if p.file != nil {
		used = p.file.Size()
	}
	room := max(0, int64(p.cfg.Outbox.MaxBytes)-used)
	free := byteText(int64(p.free))
	switch {
	case p.free < leastFree:
		c.fail("free disk space: appending fails when there is none", "%s has %s free", p.folder, free)
	case int64(p.free) < room:
		c.warn("free disk space, or lower OUTBOX_MAX_BYTES", "%s has %s free, but the file may grow by %s", p.folder, free, byteText(room))
	default:
		c.ok("%s has %s free", p.folder, free)
	}
	switch {
	case !p.folderNow.IsDir():
		c.fail("check MATCHRELAY_DB and DATA_FOLDER", "it is no folder")
	case !p.writable:
		c.fail("let the user write there, or point MATCHRELAY_DB elsewhere", "it cannot be written to")
	default:
		checkFolder(c, p.folder, "MATCHRELAY_DB", p.folderNow)
	}
	if folder := filepath.Dir(p.cfg.Outbox.Socket); folder != filepath.Dir(p.cfg.Outbox.Path) {
		if info, err := os.Stat(folder); err == nil {
			checkFolder(c, folder, "MATCHRELAY_SOCKET", info)
		}
	}
}

// checkFolder warns about a folder in which others can take names.
func checkFolder(c *check, folder, setting string, info fs.FileInfo) {
	switch mode := info.Mode(); {
	case mode.Perm()&0o022 == 0:
	case mode&fs.ModeSticky == 0:
		c.warn("chmod go-w "+folder, "the mode of %s is %04o: others can replace the file", folder, mode.Perm())
	default:
		c.warn("point "+setting+" to a folder that only you can write to", "others can write to %s, and take the name of file or socket before they are made", folder)
	}
}

func checkPending(p *patient, c *check) {
	var pending, parked int
	var oldest time.Time
	for _, t := range p.stats.Topics {
		pending, parked = pending+int(t.Pending), parked+int(t.Parked)
		if !t.OldestPending.IsZero() && (oldest.IsZero() || t.OldestPending.Before(oldest)) {
			oldest = t.OldestPending
		}
	}
	switch age := p.now.Sub(oldest); {
	case pending == 0:
		c.ok("nothing waits")
	case age > mostWait:
		c.warn("matchrelay relay --until-empty", "%s pending, the oldest for %v", count(pending, "event"), age.Round(time.Second))
	default:
		c.ok("%s pending", count(pending, "event"))
	}
	if parked > 0 {
		c.warn("matchrelay events list --state parked", "%s parked", count(parked, "event"))
	}
}

func checkClock(p *patient, c *check) {
	if !p.newest.IsZero() {
		if ahead := p.newest.Sub(p.now); ahead > 0 {
			c.warn("set the clock of this machine", "the newest event is %v in the future: the clock was set back", ahead.Round(time.Second))
		} else {
			c.ok("the newest event is %v old", -ahead.Round(time.Second))
		}
	}
	if p.down == nil && p.cfg.Redis.Enabled {
		for _, n := range p.nodes {
			p.checkSkew(c, n)
		}
	}
	if c.Status == "" {
		c.skip("there is nothing to compare it with")
	}
}
