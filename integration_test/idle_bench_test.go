package integration_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

// idleFor is how long BenchmarkIdle looks on.
const idleFor = 60 * time.Second

// BenchmarkIdle is what it costs to wait. Real programs that have recorded and delivered a list of 15 matches wait for a
// minute, at the defaults: the service, a relay of its own, and a processor that links the library, beside one that only
// decodes the list. %_core is the share of one core that they took, MB_anon the memory that is theirs alone (RssAnon: heap,
// stacks and what the runtime keeps), MB_more that of the linked processor less that of the bare one.
func BenchmarkIdle(b *testing.B) {
	server := redistest.Start(b, redistest.Options{})
	dir := b.TempDir()
	list := filepath.Join(dir, "list.json")
	require.NoError(b, os.WriteFile(list, fogistest.List(1, 15, time.Now()), 0o600))
	env := func(name string) []string {
		return []string{"MATCHRELAY_DB=" + filepath.Join(dir, name), "REDIS_URL=" + server.URL(), "RELAY_MIN_RECEIVERS=match_updates=0", "LOG_LEVEL=ERROR"}
	}
	idlers := map[string]*exec.Cmd{
		"run":    program(b, env("run"), "run", "--source", list, "--interval", "1h"),
		"relay":  program(b, env("relay"), "relay", "--create"),
		"bare":   exec.Command(buildIdler(b, dir, "bare"), list),
		"linked": exec.Command(buildIdler(b, dir, "linked"), list, filepath.Join(dir, "linked"), server.Addr()),
	}
	for name, cmd := range idlers {
		startIdler(b, name, cmd)
	}
	time.Sleep(5 * time.Second) // until what there is to do is done
	for b.Loop() {
		before := map[string]time.Duration{}
		for name, cmd := range idlers {
			before[name] = cpuTime(b, cmd.Process.Pid)
		}
		time.Sleep(idleFor)
		for name, cmd := range idlers {
			if name != "bare" {
				b.ReportMetric(100*float64(cpuTime(b, cmd.Process.Pid)-before[name])/float64(idleFor), "%_core_"+name)
			}
		}
	}
	memory := map[string]float64{}
	for name, cmd := range idlers {
		memory[name] = anonymousMemory(b, cmd.Process.Pid)
		b.ReportMetric(memory[name], "MB_anon_"+name)
	}
	b.ReportMetric(memory["linked"]-memory["bare"], "MB_more")
}

func buildIdler(b *testing.B, dir, name string) string {
	b.Helper()
	path := filepath.Join(dir, "idle-"+name)
	out, err := exec.Command("go", "build", "-o", path, "./testdata/idle/"+name).CombinedOutput()
	require.NoError(b, err, string(out))
	return path
}

// startIdler starts a program that waits on its standard input, or for a signal.
func startIdler(b *testing.B, name string, cmd *exec.Cmd) {
	b.Helper()
	stdin, err := cmd.StdinPipe()
	require.NoError(b, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(b, err)
	cmd.Stderr = os.Stderr
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	if name == "bare" || name == "linked" {
		_, err = bufio.NewReader(stdout).ReadString('\n')
		require.NoError(b, err)
	}
}

// cpuTime is what all threads of a process have run.
func cpuTime(b *testing.B, pid int) (sum time.Duration) {
	b.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	require.NoError(b, err)
	require.NotEmpty(b, threads)
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		require.NoError(b, err)
		ran, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		require.NoError(b, err)
		sum += time.Duration(ran)
	}
	return sum
}

// anonymousMemory is a process's RssAnon in MB.
func anonymousMemory(b *testing.B, pid int) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(b, err)
	for line := range strings.Lines(string(status)) {
		if words := strings.Fields(line); words[0] == "RssAnon:" {
			kilobytes, err := strconv.ParseFloat(words[1], 64)
			require.NoError(b, err)
			return kilobytes / 1024
		}
	}
	b.Fatal("no RssAnon in /proc/PID/status")
	return 0
}
