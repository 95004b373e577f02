package mutants

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Mutant is a fault in one file, and the tests that are to catch it.
type Mutant struct {
	Name  string        // what is wrong, as a sentence
	File  string        // the path from the module's folder, with slashes
	Old   string        // is in the file exactly once
	New   string        // takes its place
	Also  []Change      // what else changes in the file
	In    string        // the folder of the package whose tests are run, from the module's folder
	Tests []string      // their names; those of subtests behind a slash, as patterns
	Env   []string      // of the tests, as NAME=value
	Hangs bool          // a test that does not end catches it, too
	Limit time.Duration // how long its tests may take on the slowest machine; 0 means some minutes
}

// Change is a snippet of a file and what takes its place.
type Change struct{ Old, New string }

// Root is the folder of the module that the working directory is in.
func Root() (string, error) {
	folder, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder, nil
		}
		above := filepath.Dir(folder)
		if above == folder {
			err = errors.New("no go.mod is above the working directory")
		}
		folder = above
	}
	return "", err
}

// Mutated is the file with the fault in it. It fails when a snippet is not there exactly once, when nothing would change,
// and for Go that cannot be parsed.
func (m Mutant) Mutated(root string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(m.File)))
	if err != nil {
		return nil, err
	}
	for _, c := range append([]Change{{m.Old, m.New}}, m.Also...) {
		if n := strings.Count(string(text), c.Old); c.Old == "" || n != 1 {
			return nil, fmt.Errorf("%q is %d times in %s: expected once", c.Old, n, m.File)
		}
		if c.Old == c.New {
			return nil, errors.New("nothing changes")
		}
		text = []byte(strings.Replace(string(text), c.Old, c.New, 1))
	}
	if filepath.Ext(m.File) == ".go" {
		if _, err := parser.ParseFile(token.NewFileSet(), m.File, text, parser.SkipObjectResolution); err != nil {
			return nil, err
		}
	}
	return text, nil
}

func (m Mutant) wrong(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("mutant %q: %w", m.Name, err)
}

// pattern is what -test.run takes.
func (m Mutant) pattern() string {
	patterns := make([]string, len(m.Tests))
	for i, name := range m.Tests {
		test, sub, some := strings.Cut(name, "/")
		if patterns[i] = "^" + test + "$"; some {
			patterns[i] += "/" + sub
		}
	}
	return strings.Join(patterns, "|")
}
