package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long anything may take that must come to an end; nothing is expected sooner than that.
const patience = 3 * time.Minute

// buildProgram builds the real program, with a clock that can be moved.
func buildProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "matchrelay")
	out, err := exec.Command("go", "build", "-tags", "clockjump", "-o", path, "../../cmd/matchrelay").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// process is a program that is started again whenever it ends by itself, as an init system does, until it is ended.
type process struct {
	r    *rig
	name string
	log  string // path of its standard error, over all its lives

	mu      sync.Mutex
	command []string // guarded by mu, like what follows
	wanted  bool     // it is to run
	cmd     *exec.Cmd
	exited  chan struct{} // closed when cmd has been waited for
	held    bool          // it is not to run, whatever is wanted
	told    bool          // cmd was told to end, or killed
	kills   int           // how often it was killed
}

func newProcess(r *rig, name string, command ...string) *process {
	p := &process{r: r, name: name, command: command, log: filepath.Join(r.logs, strings.ReplaceAll(name, " ", "-")+".log")}
	r.t.Cleanup(p.kill)
	r.processes = append(r.processes, p)
	return p
}

// start starts it, if it does not run.
func (p *process) start(command ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(command) > 0 {
		p.command = command
	}
	p.wanted = true
	if p.cmd == nil && !p.held {
		p.begin()
	}
}

// hold ends it, and keeps it from being started until it is released.
func (p *process) hold() {
	p.mu.Lock()
	p.held = true
	p.mu.Unlock()
	p.end()
}

// release starts it if it was held or has ended, and lets it go on if it was stopped.
func (p *process) release() {
	p.mu.Lock()
	p.held = false
	p.mu.Unlock()
	p.signal(syscall.SIGCONT)
	p.start()
}

// begin is called with mu held.
func (p *process) begin() {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.r.find("%s: %v", p.name, err)
		return
	}
	defer log.Close()
	cmd := exec.Command(p.command[0], p.command[1:]...)
	cmd.Env = p.r.env()
	if p.command[0] == p.r.self {
		cmd = exec.Command(p.r.self)
		cmd.Env = append(p.r.env(), roleEnv+"="+p.command[1])
	}
	cmd.Dir, cmd.Stderr = p.r.logs, log
	fmt.Fprintf(log, "--- %s: %s\n", p.r.now(), strings.Join(p.command[1:], " "))
	if err := cmd.Start(); err != nil {
		p.r.find("%s: %v", p.name, err)
		return
	}
	exited := make(chan struct{})
	p.cmd, p.exited, p.told = cmd, exited, false
	go p.attend(cmd, exited)
}

// attend waits for the end of the process, and starts it again after a while if it ended by itself.
func (p *process) attend(cmd *exec.Cmd, exited chan struct{}) {
	err := cmd.Wait()
	p.mu.Lock()
	told, code := p.told, cmd.ProcessState.ExitCode()
	p.cmd = nil
	close(exited)
	p.mu.Unlock()
	switch {
	case told && code <= 0: // killed, or ended well
	case code == 4 || code == 1 && p.lacksSpace():
		p.r.note("%s ended with %d", p.name, code)
	default:
		p.r.find("%s ended: %v; see %s", p.name, err, p.log)
	}
	if !told {
		<-time.After(200 * time.Millisecond)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wanted && p.cmd == nil && !p.held {
		p.begin()
	}
}

// lacksSpace says whether the last that it said is that the disk is full.
func (p *process) lacksSpace() bool {
	log, err := os.ReadFile(p.log)
	return err == nil && strings.Contains(lastLine(string(log)), "no space left")
}

// signal sends a signal, if it runs.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(s) // it may have ended
	}
}

func (p *process) kill() {
	if p.stop(syscall.SIGKILL) {
		p.mu.Lock()
		p.kills++
		p.mu.Unlock()
	}
}

// end ends it in good order, frozen or not.
func (p *process) end() { p.stop(syscall.SIGTERM) }

// stop ends it with a signal and waits for that.
func (p *process) stop(s syscall.Signal) (ran bool) {
	p.mu.Lock()
	p.wanted = false
	cmd, exited := p.cmd, p.exited
	if cmd != nil {
		p.told = true
		_ = cmd.Process.Signal(s)
		_ = cmd.Process.Signal(syscall.SIGCONT)
	}
	p.mu.Unlock()
	if cmd == nil {
		return false
	}
	select {
	case <-exited:
	case <-time.After(patience):
		p.r.find("%s does not end on %v within %v", p.name, s, patience)
		_ = cmd.Process.Signal(syscall.SIGKILL)
		<-exited
	}
	return true
}

// pid is 0 when it does not run.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// result is what a command left behind.
type result struct {
	code           int
	stdout, stderr string
}

// do runs a command of the program to its end. Some exit codes say that it cannot be done now, or only in part; those that
// say that something is wrong are findings.
func (r *rig) do(args ...string) result {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = r.logs, r.env(), &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.find("%v: %v", args, err)
		return result{code: -1}
	}
	got := result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	r.note("matchrelay %s: %d %s", strings.Join(args, " "), got.code, lastLine(got.stderr))
	if got.code < 0 || got.code == 2 || got.code == 5 {
		r.find("matchrelay %s ended with %d: %s%s", strings.Join(args, " "), got.code, got.stdout, got.stderr)
	}
	return got
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
