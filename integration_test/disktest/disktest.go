// Package disktest sees with strace in which order a process writes, syncs and names files, for what a power cut leaves depends on
// it, and lets such calls fail. Package powerloss rebuilds from them what a cut could leave.
package disktest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Calls are the system calls of a process on files, a line of strace each, in their order.
type Calls []string

// Strace makes a command, with all its threads and children, run under strace, with options of that: what to write to which file,
// or a fault to inject.
func Strace(cmd *exec.Cmd, options ...string) error {
	strace, err := exec.LookPath("strace")
	if err != nil {
		return fmt.Errorf("system calls are seen, and made to fail, with strace: apt-get install strace: %w", err)
	}
	cmd.Args = slices.Concat([]string{strace, "-f", "-qq", "-e", "signal=none"}, options, []string{"--", cmd.Path}, cmd.Args[1:])
	cmd.Path = strace
	return nil
}

// Trace runs a command under strace until it ends, which it must do well.
func Trace(t testing.TB, cmd *exec.Cmd) Calls {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	require.NoError(t, Strace(cmd, "-y", "-s", "4096", "-o", trace, "-e", "trace=write,pwrite64,writev,"+
		"copy_file_range,sendfile,ftruncate,fsync,fdatasync,link,linkat,rename,renameat,renameat2"))
	require.NoError(t, cmd.Run())
	lines, err := os.ReadFile(trace)
	require.NoError(t, err)
	return strings.Split(string(lines), "\n")
}

var (
	writes = regexp.MustCompile(`^\d+ +(write|pwrite64|writev|copy_file_range|sendfile|ftruncate)\(`)
	syncs  = regexp.MustCompile(`^\d+ +(fsync|fdatasync)\(`)
	names  = regexp.MustCompile(`^\d+ +(link|linkat|rename|renameat|renameat2)\(`)
)

// RequireNamedDurably checks that the file that got its name last was on the disk before: written under a name that begins with
// draft, synced, named, and its folder synced after that.
func (c Calls) RequireNamedDurably(t testing.TB, draft, path string) {
	t.Helper()
	written := c.last(writes, "<"+draft, len(c))
	require.GreaterOrEqual(t, written, 0, "%s was written", draft)
	named := c.last(names, `"`+path+`"`, len(c))
	require.Greater(t, named, written, "%s gets its name after it was written", path)
	require.Greater(t, c.last(syncs, "<"+draft, named), written, "what was written is synced before it is named %s", path)
	require.Greater(t, c.last(syncs, "<"+filepath.Dir(path)+">", len(c)), named, "the folder is synced after %s got its name", path)
}

// last finds the last call of a kind, before another one, whose line contains a text; -1 when there is none.
func (c Calls) last(kind *regexp.Regexp, text string, before int) int {
	for i := before - 1; i >= 0; i-- {
		if kind.MatchString(c[i]) && strings.Contains(c[i], text) {
			return i
		}
	}
	return -1
}
