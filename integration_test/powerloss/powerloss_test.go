package powerloss

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Set these to look at more states, or again at the same.
const (
	effortEnv = "POWERLOSS_EFFORT" // 1: what make test does; 30: a minute; 300: ten
	seedEnv   = "POWERLOSS_SEED"   // of the states that are chosen by chance; else another each time
	replayEnv = "POWERLOSS_REPLAY" // a recording that a failed test has kept
	stateEnv  = "POWERLOSS_STATE"  // of that, only this state; its files are put beside the recording, into the folder state
)

func numberFrom(t *testing.T, env string, or uint64) uint64 {
	t.Helper()
	if os.Getenv(env) == "" {
		return or
	}
	n, err := strconv.ParseUint(os.Getenv(env), 10, 64)
	require.NoError(t, err, env)
	return n
}

// scratch is a folder in memory, if there is such: what the disk does is up to the model.
func scratch(t *testing.T) string {
	t.Helper()
	parent := "/dev/shm"
	if _, err := os.Stat(parent); err != nil {
		parent = ""
	}
	folder, err := os.MkdirTemp(parent, "powerloss-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	return folder
}

// recording is a folder with the traces of processes, and the job to check them.
type recording struct {
	folder string
	job    job
}

func newRecording(t *testing.T) *recording {
	t.Helper()
	r := &recording{folder: scratch(t)}
	r.job = job{Root: filepath.Join(r.folder, "root"), Marks: filepath.Join(r.folder, "marks"), Seed: numberFrom(t, seedEnv, rand.Uint64())}
	effort := int(numberFrom(t, effortEnv, 1))
	r.job.Effort = Effort{Exhaustive: 3 + bits.Len(uint(effort)), Random: 3 * effort}
	require.NoError(t, os.Mkdir(r.job.Root, 0o700))
	require.NoError(t, os.WriteFile(r.job.Marks, nil, 0o600))
	return r
}

// run records a workload in a process, to which options of strace may do something.
func (r *recording) run(t *testing.T, workload string, options ...string) (stderr string, err error) {
	t.Helper()
	cmd := exec.Command(os.Args[0], workload, r.job.Root, r.job.Marks)
	cmd.Env = append(os.Environ(), childEnv+"=work")
	name := fmt.Sprint("trace", len(r.job.Traces))
	r.job.Traces = append(r.job.Traces, name)
	require.NoError(t, Strace(cmd, filepath.Join(r.folder, name), options...))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.String(), err
}

func (r *recording) record(t *testing.T, workload string) {
	t.Helper()
	out, err := r.run(t, workload)
	require.NoError(t, err, out)
}

// replay checks a recording again that was kept, if one is named.
func replay(t *testing.T) (replayed bool) {
	t.Helper()
	r := recording{folder: os.Getenv(replayEnv)}
	if r.folder == "" {
		return false
	}
	b, err := os.ReadFile(filepath.Join(r.folder, jobFile))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &r.job))
	r.job.Only = os.Getenv(stateEnv)
	r.requireSound(t)
	return true
}

// patience is how long one state may take: a damaged file can lead bbolt in circles.
const patience = 2 * time.Minute

// checkerEnv names this test program, built without the race detector: a state is opened by one goroutine. The processes that are
// recorded have it.
const checkerEnv = "MATCHRELAY_TEST_POWERLOSS"

// check has a process do the job, and hears what it says. It returns what the process itself failed with.
func (r *recording) check(t *testing.T, hear func(m message)) error {
	t.Helper()
	file := filepath.Join(r.folder, jobFile)
	b, err := json.Marshal(r.job)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, b, 0o600))
	cmd := exec.Command(cmp.Or(os.Getenv(checkerEnv), os.Args[0]), file, scratch(t))
	cmd.Env = append(os.Environ(), childEnv+"=check")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	watchdog := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		watchdog.Reset(patience)
		var m message
		require.NoError(t, json.Unmarshal(lines.Bytes(), &m), lines.Text())
		hear(m)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w\n%s", err, stderr.String())
	}
	return nil
}

// requireSound checks every state.
func (r *recording) requireSound(t *testing.T) {
	t.Helper()
	started := time.Now()
	var done message
	var failed []message
	last := ""
	err := r.check(t, func(m message) {
		switch {
		case m.Done:
			done = m
		case m.Failed != "":
			failed = append(failed, m)
		default:
			last = m.Checking
		}
	})
	for _, m := range failed[:min(5, len(failed))] {
		t.Errorf("%s\n\t%s", m.State, m.Failed)
	}
	if err != nil {
		t.Errorf("the checking process has ended, the last state was %q: %v", last, err)
	}
	if t.Failed() {
		t.Fatalf("%d states fail; again: %s=%s go test -count=1 -run TestPowerLoss_KeepsEvery ./integration_test/powerloss, with %s='call ...' for one of them",
			len(failed), replayEnv, r.keep(t), stateEnv)
	}
	require.Positive(t, done.States)
	t.Logf("%d states, at %d points of %d calls, in %v; seed %d", done.States, done.Points, done.Calls/2, time.Since(started).Round(time.Millisecond), r.job.Seed)
}

// keep copies the recording to where it stays, unless it is one that was kept.
func (r *recording) keep(t *testing.T) string {
	t.Helper()
	if r.folder == os.Getenv(replayEnv) {
		return r.folder
	}
	parent, err := os.MkdirTemp("", "powerloss-")
	require.NoError(t, err)
	kept := filepath.Join(parent, "recording")
	require.NoError(t, os.CopyFS(kept, os.DirFS(r.folder)))
	return kept
}

func TestPowerLoss_KeepsEveryAcknowledgedTransaction(t *testing.T) {
	if replay(t) {
		return
	}
	for _, workload := range []string{"commits", "backup", "restore", "compact"} {
		t.Run(workload, func(t *testing.T) {
			r := newRecording(t)
			r.record(t, workload)
			r.requireSound(t)
		})
	}
}

// A process that is killed leaves a name that it has not synced, and the next one finds it: what that one promises stands
// on it.
func TestPowerLoss_KeepsWhatTheNextProcessPromises(t *testing.T) {
	for _, operation := range []string{"open", "restore", "compact"} {
		t.Run(operation, func(t *testing.T) {
			workload := operation + ", killed"
			whole := newRecording(t)
			whole.record(t, workload)
			for _, nth := range whole.folderSyncs(t, operation) {
				r := newRecording(t)
				out, err := r.run(t, workload, "-e", fmt.Sprintf("inject=fsync:error=EIO:signal=KILL:when=%d", nth))
				require.ErrorContains(t, err, "killed", out)
				r.record(t, "start again")
				r.requireSound(t)
			}
		})
	}
}

// folderSyncs are, of all calls of fsync, those by which an operation makes names durable.
func (r *recording) folderSyncs(t *testing.T, operation string) (nth []int) {
	t.Helper()
	calls, err := ReadTraces(filepath.Join(r.folder, r.job.Traces[0]))
	require.NoError(t, err)
	disk := NewDisk(r.job.Root, r.job.Marks)
	n, now := 0, ""
	for _, call := range calls {
		step, err := disk.Take(call)
		require.NoError(t, err)
		var m mark
		if step.Mark != "" {
			require.NoError(t, json.Unmarshal([]byte(step.Mark), &m))
		}
		if m.Begin != "" {
			now = m.Begin
		}
		if call.Name == "fsync" && call.End {
			n++
			if step.Sync != nil && step.Sync.Folder && strings.HasPrefix(now, operation+" ") {
				nth = append(nth, n)
			}
		}
	}
	require.NotEmpty(t, nth)
	return nth
}
