package mutants

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

const (
	// enough is how long the tests of a mutant may take that says nothing else, unless args say another -test.timeout: only one that
	// hangs takes longer.
	enough = 5 * time.Minute
	// hung is the same for a mutant that says that it hangs.
	hung = 90 * time.Second
)

// Result is what became of a mutant's tests.
type Result struct {
	Caught   bool
	By       string // the first test that failed, or what else ended the test program
	TimedOut bool
	Output   string
	Took     time.Duration // without building
}

// Run builds the tests of a mutant and runs them; args go to the test program. An error means that nothing is known of the
// mutant: it does not apply, does not compile, has no such tests, or ctx ended. Whether the tests pass without the fault is
// the caller's to find out: see RunOriginal.
func Run(ctx context.Context, m Mutant, args ...string) (result Result, err error) {
	err = inFolder(func(root, folder string) error {
		overlay, err := m.overlay(root, folder)
		if err != nil {
			return err
		}
		p := program{root: root, in: m.In, path: filepath.Join(folder, "tests"), overlay: overlay}
		if err = p.build(ctx); err == nil {
			result, err = p.run(ctx, m, args)
		}
		return err
	})
	return result, m.wrong(err)
}

// RunOriginal does what Run does, but without the fault: where the Result says Caught or TimedOut, the tests catch nothing.
func RunOriginal(ctx context.Context, m Mutant, args ...string) (result Result, err error) {
	err = inFolder(func(root, folder string) error {
		p := program{root: root, in: m.In, path: filepath.Join(folder, "tests")}
		err := p.build(ctx)
		if err == nil {
			result, err = p.run(ctx, m, args)
		}
		return err
	})
	return result, m.wrong(err)
}

// inFolder does something in a folder that is removed after it.
func inFolder(do func(root, folder string) error) error {
	root, err := Root()
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return err
	}
	return errors.Join(do(root, folder), os.RemoveAll(folder))
}

// overlay writes the mutated file, and the file that tells the go command of it.
func (m Mutant) overlay(root, folder string) (path string, err error) {
	mutated, err := m.Mutated(root)
	if err != nil {
		return "", err
	}
	file := filepath.Join(folder, filepath.Base(m.File))
	list, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root, filepath.FromSlash(m.File)): file}})
	path = filepath.Join(folder, "overlay.json")
	if err == nil {
		err = errors.Join(os.WriteFile(file, mutated, 0o600), os.WriteFile(path, list, 0o600))
	}
	return path, err
}

// program is the test program of a package.
type program struct {
	root, in string
	path     string
	overlay  string // "": without a fault
}

// env has the overlay, for tests that build, too.
func (p program) env() []string {
	if p.overlay == "" {
		return os.Environ()
	}
	return append(os.Environ(), strings.TrimSpace("GOFLAGS="+os.Getenv("GOFLAGS")+" -overlay="+p.overlay))
}

func (p program) build(ctx context.Context) error {
	// What only debuggers read takes its time to link.
	build := exec.CommandContext(ctx, "go", "test", "-c", "-ldflags=-s -w", "-o", p.path, "./"+p.in)
	build.Dir, build.Env = p.root, p.env()
	if out, err := build.CombinedOutput(); err != nil {
		return errors.Join(ctx.Err(), fmt.Errorf("it does not compile: %w\n%s", err, out))
	}
	return nil
}

// run runs the tests of a mutant, where go test would.
func (p program) run(ctx context.Context, m Mutant, args []string) (Result, error) {
	limit := cmp.Or(m.Limit, enough)
	if m.Hangs {
		limit = hung
	}
	tests := exec.CommandContext(ctx, p.path, append([]string{"-test.run=" + m.pattern(), "-test.failfast", "-test.parallel=8", "-test.timeout=" + limit.String()}, args...)...)
	tests.Dir, tests.Env = filepath.Join(p.root, filepath.FromSlash(p.in)), append(p.env(), m.Env...)
	tests.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what the tests have started ends with them
	tests.Cancel = func() error { return syscall.Kill(-tests.Process.Pid, syscall.SIGKILL) }
	tests.WaitDelay = 10 * time.Second
	began := time.Now()
	out, err := tests.CombinedOutput()
	result := Result{Output: string(out), Took: time.Since(began)}
	if tests.Process != nil {
		_ = syscall.Kill(-tests.Process.Pid, syscall.SIGKILL) // none is left, unless the program was cut short
	}
	return m.judge(ctx, result, err)
}

func (m Mutant) judge(ctx context.Context, result Result, err error) (Result, error) {
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return result, ctx.Err()
	case err != nil && !errors.As(err, &exit):
		return result, err
	case strings.Contains(result.Output, "testing: warning: no tests to run"):
		return result, fmt.Errorf("%s has no test that %s matches", m.In, m.pattern())
	case err == nil:
		return result, nil
	}
	result.TimedOut = strings.Contains(result.Output, "panic: test timed out after")
	result.Caught = !result.TimedOut || m.Hangs
	result.By = culprit(result.Output)
	return result, nil
}

// Notes are the lines of the output that begin with "note: ", without that.
func (r Result) Notes() (notes []string) {
	for line := range strings.Lines(r.Output) {
		if note, ok := strings.CutPrefix(line, "note: "); ok {
			notes = append(notes, strings.TrimSpace(note))
		}
	}
	return notes
}

var (
	failedTest = regexp.MustCompile(`(?m)^ *--- FAIL: (\S+)`)
	endedBy    = regexp.MustCompile(`(?m)^(panic|fatal error|goleak|SIG[A-Z]+): .*$`)
)

// culprit is the first test that failed, the innermost of its subtests, or else what ended the program.
func culprit(output string) string {
	name := ""
	for _, match := range failedTest.FindAllStringSubmatch(output, -1) {
		if name == "" || strings.HasPrefix(match[1], name+"/") {
			name = match[1]
		}
	}
	if name == "" {
		name = endedBy.FindString(output)
	}
	return name
}
