package simulation

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A test that runs schedules has them run by processes of their own: random numbers that the program draws by itself are the
// process's, so that one run at a time is repeatable; and of a run that never ends, or ends the process, the seed is known.
const (
	rangeEnv    = "SIMULATION_RANGE"           // FIRST:NUMBER of seeds
	scheduleEnv = "SIMULATION_SCHEDULE"        // the name of a file
	traceEnv    = "TRACE"                      // of any value: print what happens
	programEnv  = "MATCHRELAY_TEST_SIMULATION" // this test program, built without the race detector: goroutines take turns
	stopEnv     = "STOP"                       // of any value: end with the first seed that fails, and do not shrink it
)

// report is a line that such a process prints.
type report struct {
	Begins     uint64 // the seed that is run next
	Seed       uint64 // that was run
	Violations []string
	Schedule   string // the shortest that fails
	Trace      []string
	Virtual    time.Duration
	Events     int
	Calls      int
}

// endless is what no run takes, on the slowest machine.
const endless = 5 * time.Minute

// TestSimulationProcess is such a process. It does nothing when it is run with the other tests.
func TestSimulationProcess(t *testing.T) {
	tell := json.NewEncoder(os.Stdout)
	_, trace := os.LookupEnv(traceEnv)
	run := func(s Schedule) {
		require.NoError(t, tell.Encode(report{Begins: s.Seed}))
		result := runIn(t, s, trace)
		r := report{Seed: s.Seed, Violations: result.Violations, Trace: result.Trace, Virtual: result.Virtual,
			Events: result.Events, Calls: result.Calls}
		if _, hurry := os.LookupEnv(stopEnv); len(r.Violations) > 0 && hurry {
			r.Schedule = s.String()
		} else if len(r.Violations) > 0 {
			r.Schedule = Shrink(s, func(s Schedule) bool {
				v := runIn(t, s, false).Violations
				return len(v) > 0 && kind(v[0]) == kind(r.Violations[0])
			}).String()
		}
		require.NoError(t, tell.Encode(r))
	}
	if name := os.Getenv(scheduleEnv); name != "" {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		s, err := Parse(string(text))
		require.NoError(t, err, name)
		run(s)
	}
	if first, number, ok := strings.Cut(os.Getenv(rangeEnv), ":"); ok {
		from, err := strconv.ParseUint(first, 10, 64)
		require.NoError(t, err)
		n, err := strconv.ParseUint(number, 10, 64)
		require.NoError(t, err)
		for seed := from; seed < from+n; seed++ {
			run(Draw(seed))
		}
	}
}

// kind is what a violation says, without when, and of which event.
func kind(violation string) string {
	_, text, _ := strings.Cut(violation, ": ")
	return strings.TrimRight(text[:min(20, len(text))], "0123456789# ")
}

// runIn runs a schedule in a folder of its own: in memory, where there is such a place.
func runIn(t *testing.T, s Schedule, trace bool) Result {
	parent := "/dev/shm"
	if info, err := os.Stat(parent); err != nil || !info.IsDir() {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "matchrelay-simulation-")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	watch := time.AfterFunc(endless, func() { panic(fmt.Sprintf("seed %d does not come to an end:\n%v", s.Seed, s)) })
	defer watch.Stop()
	return Run(t, s, dir, trace)
}

// runProcess runs such a process to its end and hands each report over.
func runProcess(ctx context.Context, t *testing.T, env string, each func(report)) {
	path := os.Getenv(programEnv)
	if path == "" {
		path = os.Args[0]
	}
	cmd := exec.CommandContext(ctx, path, "-test.run=^TestSimulationProcess$", "-test.timeout=0")
	cmd.Env = append(os.Environ(), env, "GODEBUG=randseednop=0", "GOGC=400", "GOMAXPROCS=1") // goroutines take turns
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(out)
	last := uint64(0)
	rest := ""
	for {
		line, err := lines.ReadString('\n')
		var r report
		if json.Unmarshal([]byte(line), &r) == nil {
			if r.Begins != 0 {
				last = r.Begins
			} else {
				each(r)
			}
		} else {
			rest += line
		}
		if err != nil {
			break
		}
	}
	if err := cmd.Wait(); err != nil && ctx.Err() == nil {
		t.Errorf("seed %d ended its process: %v\n%s%s", last, err, tail(rest), tail(stderr.String()))
	}
}

// tail is the end of what a process has said.
func tail(s string) string { return s[max(0, len(s)-20_000):] }

// processes is how many of them run beside each other.
func processes() uint64 { return uint64(min(8, runtime.GOMAXPROCS(0))) }

func number(t *testing.T, name string, otherwise uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err, "%s: expected a whole number", name)
	return n
}

// explain prints what failed, and how to run it again.
func explain(t *testing.T, name string, r report) {
	file := filepath.Join(os.TempDir(), fmt.Sprintf("matchrelay-simulation-%d.txt", r.Seed))
	_ = os.WriteFile(file, []byte("# "+r.Violations[0]+"\n"+r.Schedule), 0o600)
	t.Errorf("%s: %s\n%sTo see it happen: go test -run TestSchedules -v ./integration_test/simulation -schedule %s -steps\n"+
		"To keep it as a test: mv %s integration_test/simulation/testdata/NAME.txt",
		name, strings.Join(r.Violations, "\n"), r.Schedule, file, file)
}
