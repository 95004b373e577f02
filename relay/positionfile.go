package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// PositionFile is a Store: the path of a file that holds the position as JSON, readable by its owner alone. Its folder must
// exist. Saving writes and syncs <path>.tmp, renames it, and syncs the folder: two syncs for each event.
type PositionFile string

// Load reads the file. One that is empty or damaged is an error, and stays as it is.
func (f PositionFile) Load(context.Context) (Position, error) {
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
	b, _ := json.Marshal(p) // of strings and numbers
	temp := string(f) + ".tmp"
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		_, err = file.Write(b)
		err = errors.Join(err, file.Sync(), file.Close())
	}
	if err == nil {
		err = os.Rename(temp, string(f))
	}
	if err == nil {
		err = syncFolder(filepath.Dir(string(f)))
	}
	return err
}

// syncFolder makes a new name in the folder durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	return err
}
