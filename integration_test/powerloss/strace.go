package powerloss

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"github.com/PitchConnect/matchrelay/integration_test/disktest"
)

// Strace makes a command run under strace, which writes all that ReadTraces reads to a
// file. Options are further ones of strace, such as a fault to inject.
func Strace(cmd *exec.Cmd, trace string, options ...string) error {
	return disktest.Strace(cmd, append([]string{"-xx", "-s", strconv.Itoa(64 << 20), "-e", "trace=" + traced, "-o", trace}, options...)...)
}

// ReadTraces reads what strace wrote of processes that ran one after the other, each
// in a file of its own.
func ReadTraces(paths ...string) ([]*Call, error) {
	var calls []*Call
	for process, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		calls, err = readTrace(calls, f, process)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("read trace %s: %w", path, err)
		}
	}
	return calls, nil
}

// The two lines of a call during which another thread's came are
//
//	123 fsync(7 <unfinished ...>
//	123 <... fsync resumed>)          = 0
var (
	unfinished = " <unfinished ...>"
	resumed    = regexp.MustCompile(`^<\.\.\. \w+ resumed>(.*)$`)
	result     = regexp.MustCompile(`\)\s+= (0x[0-9a-f]+|-?\d+|\?)( [A-Z].*| \(.*)?$`)
)

func readTrace(calls []*Call, trace io.Reader, process int) ([]*Call, error) {
	type half struct {
		text string
		at   int // its place among the calls
	}
	begun := map[string]half{} // by thread
	r := bufio.NewReaderSize(trace, 1<<20)
	for n := 1; ; n++ {
		line, err := r.ReadString('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		thread, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		text = strings.TrimLeft(text, " ")
		if strings.HasPrefix(text, "+++") || strings.HasPrefix(text, "---") {
			continue
		}
		at := len(calls)
		if first, ok := strings.CutSuffix(text, unfinished); ok {
			begun[thread] = half{first, at}
			calls = append(calls, nil) // known when it has returned
			continue
		}
		if rest := resumed.FindStringSubmatch(text); rest != nil {
			at = begun[thread].at
			text = begun[thread].text + rest[1]
			delete(begun, thread)
		} else {
			calls = append(calls, nil)
		}
		call, err := parseCall(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if call == nil {
			continue
		}
		call.Process, call.ID = process, at
		end := *call
		end.End = true
		calls[at] = call
		calls = append(calls, &end)
	}
	// A call that never returned, because its process was killed meanwhile, counts as not made: the disk has it, or not,
	// in what can follow as in what came before.
	kept := calls[:0]
	for _, call := range calls {
		if call != nil {
			kept = append(kept, call)
		}
	}
	return kept, nil
}

// parseCall reads a whole call: "name(arguments) = result". It returns nil for one that failed.
func parseCall(text string) (*Call, error) {
	name, rest, ok := strings.Cut(text, "(")
	found := result.FindStringSubmatchIndex(rest)
	if !ok || found == nil {
		return nil, fmt.Errorf("not a system call: %.200s", text)
	}
	returned := rest[found[2]:found[3]]
	if returned == "?" || strings.HasPrefix(returned, "-") {
		return nil, nil
	}
	returns, err := strconv.ParseInt(returned, 0, 64)
	if err != nil && name != "mmap" {
		return nil, err
	}
	return newCall(name, splitArguments(rest[:found[0]]), returns)
}

// splitArguments needs no care: all strings are in hexadecimal, and no argument of the
// calls that are read is a list.
func splitArguments(s string) []string { return strings.Split(s, ", ") }

// unquote reads a string of \x.. bytes.
func unquote(s string) ([]byte, error) {
	inner, ok := strings.CutPrefix(s, `"`)
	inner, end := strings.CutSuffix(inner, `"`)
	if !ok || !end {
		return nil, fmt.Errorf("not a whole string: %.40s", s)
	}
	data, err := hex.DecodeString(strings.ReplaceAll(inner, `\x`, ""))
	if err != nil {
		return nil, err
	}
	return data, nil
}

func number[T int | int64](s string) (T, error) {
	n, err := strconv.ParseInt(s, 0, 64)
	return T(n), err
}
