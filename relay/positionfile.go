package relay

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// PositionFile is a Store: the path of a file that holds the position as JSON, readable by its owner alone. Its folder must
// exist. Saving writes and syncs a new file <path>.tmp<number>, renames it, and syncs the folder: two syncs. Loading
// removes those that processes have left behind that were killed meanwhile.
type PositionFile string

// Load reads the file. One that is empty or damaged is an error, and stays as it is.
func (f PositionFile) Load(context.Context) (Position, error) {
	f.sweep()
	b, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		_, err = os.Stat(filepath.Dir(string(f)))
		return Position{}, err
	}
	if err != nil {
		return Position{}, err
	}
	var p Position
	if err = json.Unmarshal(b, &p); err == nil && p.Stream == "" {
		err = errors.New("no stream is named")
	}
	if err != nil {
		return Position{}, fmt.Errorf("%s is not a position (%w): restore it, or delete it to begin anew", string(f), err)
	}
	return p, nil
}

// Save replaces the file.
func (f PositionFile) Save(_ context.Context, p Position) error {
	b, _ := json.Marshal(p)                                                                   // of strings and numbers
	file, err := os.CreateTemp(filepath.Dir(string(f)), filepath.Base(string(f))+draftSuffix) // nobody else's, mode 0600
	if err != nil {
		return err
	}
	_, err = file.Write(b)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), string(f))
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return syncFolder(filepath.Dir(string(f)))
}

const (
	draftSuffix = ".tmp"
	// draftAge is how old a draft must be to be left behind: from its creation until it is renamed pass milliseconds.
	draftAge = time.Minute
)

// sweep removes drafts that were left behind. What cannot be removed stays.
func (f PositionFile) sweep() {
	folder, base := filepath.Split(string(f))
	entries, _ := os.ReadDir(cmp.Or(folder, "."))
	for _, entry := range entries {
		number, found := strings.CutPrefix(entry.Name(), base+draftSuffix)
		if !found || strings.Trim(number, "0123456789") != "" || !entry.Type().IsRegular() {
			continue
		}
		if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > draftAge {
			_ = os.Remove(filepath.Join(folder, entry.Name()))
		}
	}
}

// syncFolder makes a new name in the folder durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	return err
}
