package integration_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/PitchConnect/matchrelay/"

// mayImport names, for each package (with those below it), the ones of ours
// that it may import. A package that is not in it fails the test.
var mayImport = map[string][]string{
	"schema":           {},
	"schema/fogistest": {"schema"},
	"outbox":           {},
	"config":           {},
	"changes":          {"schema", "outbox"},
	"relay":            {"outbox"},
	"relay/control":    {"outbox", "relay"},
	"changes/api":      {"schema", "outbox", "changes", "relay/control"},
	"cmd":              {"schema", "schema/fogistest", "outbox", "config", "changes", "changes/api", "relay", "relay/control"},
	"integration_test": {},
	// What tests do before time is virtual.
	"integration_test/bubble": {"outbox"},
	// The simulation runs them in a world of its own.
	"integration_test/simulation": {"outbox", "relay", "relay/control", "integration_test/bubble"},
}

// Tests may import whatever they like: only what ends up in a program counts.
func TestImportGraph(t *testing.T) {
	list := exec.Command("go", "list", "-e", "-json=ImportPath,Name,Imports", "./...")
	list.Dir = ".."
	out, err := list.Output()
	require.NoError(t, err)

	packages := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; packages++ {
		var pkg struct {
			ImportPath, Name string
			Imports          []string
		}
		err := dec.Decode(&pkg)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.NotContains(t, []string{"util", "utils", "common", "helpers"}, pkg.Name, pkg.ImportPath)

		path := strings.TrimPrefix(pkg.ImportPath, module)
		home := homeOf(path)
		require.NotEmpty(t, home, "%s is a new package: say in mayImport what it may import", path)
		for _, imported := range pkg.Imports {
			ours, ok := strings.CutPrefix(imported, module)
			if !ok || homeOf(ours) == home {
				continue
			}
			require.Contains(t, mayImport[home], ours, "%s must not import %s", path, ours)
		}
	}
	require.NotZero(t, packages)
}

// homeOf returns the longest entry of mayImport that path is or lies below.
func homeOf(path string) string {
	for home := path; ; {
		if _, ok := mayImport[home]; ok {
			return home
		}
		cut := strings.LastIndex(home, "/")
		if cut < 0 {
			return ""
		}
		home = home[:cut]
	}
}
