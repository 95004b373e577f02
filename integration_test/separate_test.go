package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay/control"
)

// separateEnv is the environment of a relay in a process of its own, to the channels of these tests.
func separateEnv(path string, server *redistest.Server) []string {
	return []string{"MATCHRELAY_DB=" + path, "REDIS_URL=" + server.URL(), "REDIS_MATCH_UPDATES_CHANNEL=" + channels[updates],
		"REDIS_PROCESSOR_STATUS_CHANNEL=" + channels[statuses], "REDIS_SYSTEM_ALERTS_CHANNEL=" + channels[alerts],
		"REDIS_RETRY_DELAY=0.02", "REDIS_RETRY_MAX_DELAY=0.2", "RELAY_REJOIN_WAIT=20s"}
}

// separate is a relay in a process of its own, or another command that runs until it is told to end: the real program.
type separate struct {
	t      *testing.T
	env    []string
	args   []string
	cmd    *exec.Cmd
	stderr bytes.Buffer
}

func startSeparate(t *testing.T, env []string, args ...string) *separate {
	t.Helper()
	if args == nil {
		args = []string{"relay"}
	}
	s := &separate{t: t, env: env, args: args}
	s.start()
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Log(s.stderr.String())
		}
	})
	return s
}

func (s *separate) start() {
	s.t.Helper()
	s.cmd = program(s.t, s.env, s.args...)
	s.cmd.Stderr = &s.stderr
	require.NoError(s.t, s.cmd.Start())
}

func (s *separate) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// end ends it with SIGTERM.
func (s *separate) end() {
	s.t.Helper()
	require.NoError(s.t, s.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(s.t, s.cmd.Wait(), s.stderr.String())
}

// shortFolder is a temporary folder whose path is short enough for a socket.
func shortFolder(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "mr")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	return folder
}

// serve serves the control socket of a processor that delivers nothing itself, until the returned function is called.
func serve(t *testing.T, opts control.Options) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var served sync.WaitGroup
	served.Go(func() {
		if err := control.Serve(ctx, opts); err != nil {
			t.Error(err)
		}
	})
	return func() {
		cancel()
		served.Wait()
	}
}

// whoever asks the process that serves the socket of an outbox for its status, if there is one.
func whoever(path string) (s control.Status, ok bool) {
	client, err := control.Dial(path + ".sock")
	if err != nil {
		return s, false
	}
	defer client.Close()
	s, err = client.Status(context.Background())
	return s, err == nil
}

// holders are the processes that have a file locked. The kernel tells in parts, and some may be missing when locks come and
// go meanwhile.
func holders(t *testing.T, path string) (pids []int) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	locks, err := os.ReadFile("/proc/locks")
	require.NoError(t, err)
	inode := fmt.Sprintf(":%d ", info.Sys().(*syscall.Stat_t).Ino)
	for line := range strings.Lines(string(locks)) {
		if fields := strings.Fields(line); strings.Contains(line, inode) && fields[1] == "FLOCK" {
			pid, err := strconv.Atoi(fields[4])
			require.NoError(t, err)
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestHandover_OfTheFileAgainAndAgainUnderLoad(t *testing.T) {
	t.Parallel()
	const turns = 30
	server := redistest.Start(t, redistest.Options{})
	sub := subscribe(t, server, 0)
	path := filepath.Join(shortFolder(t), "test.db")
	require.NoError(t, openBox(t, path).Close())
	// A hand-over that waits for a time-out, a look at Redis, or the end of a lease takes longer than this test.
	env := append(separateEnv(path, server), "REDIS_CONNECTION_TIMEOUT=3600", "REDIS_SOCKET_TIMEOUT=3600", "REDIS_HEALTH_CHECK_INTERVAL=3600")
	const lease = time.Hour
	relays := []*separate{startSeparate(t, env), startSeparate(t, env)}
	relayPIDs := []int{relays[0].cmd.Process.Pid, relays[1].cmd.Process.Pid}

	var waits []time.Duration
	for turn := range turns {
		eventually(t, "a relay has the file", func() bool {
			s, ok := whoever(path)
			return ok && s.Relay != nil
		})
		eventually(t, "a relay holds the file", func() bool {
			pids := holders(t, path)
			return len(pids) == 1 && slices.Contains(relayPIDs, pids[0])
		})

		began := time.Now()
		box, err := control.Open(t.Context(), path, "", outbox.Options{LockTimeout: redistest.Patience})
		require.NoError(t, err, "turn %d", turn)
		waits = append(waits, time.Since(began))
		eventually(t, "this process holds the file", func() bool { return slices.Equal([]int{os.Getpid()}, holders(t, path)) })
		stop := serve(t, control.Options{Outbox: box, Lease: lease})
		for range 10 {
			require.NoError(t, commitStep(box, nil))
		}
		if turn%2 == 0 { // in the other turns it closes while events are pending, or on their way
			eventually(t, "a relay drains over the socket", func() bool {
				s, ok := whoever(path)
				return ok && s.Relay != nil
			})
			require.NoError(t, commitStep(box, nil))
		}
		stop()
		require.NoError(t, box.Close())
	}
	slices.Sort(waits)
	t.Logf("a processor waits for the file for %v, and %v at most", waits[len(waits)/2], waits[len(waits)-1])
	require.Less(t, waits[len(waits)-1], redistest.Patience)

	box, err := control.Open(t.Context(), path, "", outbox.Options{LockTimeout: redistest.Patience})
	require.NoError(t, err)
	stop := serve(t, control.Options{Outbox: box, Lease: lease})
	waitEmpty(t, box)
	for _, r := range relays {
		r.end()
	}
	stop()
	appended := committed(t, box)
	require.Len(t, appended, 2*(turns*10+turns/2))
	eventually(t, "every event has arrived", func() bool { return len(distinct(history(sub))) == len(appended) })
	require.Empty(t, redistest.Check(appended, history(sub), nil))
	requireSound(t, box)
	require.NoError(t, box.Close())
}

// TestAStandbyTakesOver lets the relay that drains the outbox die, or hang, under load. One that is killed loses the lease at
// once, however long that is. One that hangs has it for as long as the processor says, and does no harm when it wakes up.
func TestAStandbyTakesOver(t *testing.T) {
	for name, hang := range map[string]bool{"from a relay that is killed": false, "from a relay that hangs": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, redistest.Options{})
			sub := subscribe(t, server, 0)
			box := openBox(t, filepath.Join(shortFolder(t), "test.db"))
			lease := time.Hour
			if hang {
				lease = time.Second
			}
			stop := serve(t, control.Options{Outbox: box, Lease: lease})
			env := separateEnv(box.Path(), server)
			relays := []*separate{startSeparate(t, env), startSeparate(t, env)}
			drainedBy := func() string {
				s, _ := whoever(box.Path())
				return s.DrainedBy
			}
			var lost, standby *separate
			eventually(t, "one of them drains", func() bool {
				by := drainedBy()
				for i, r := range relays {
					if strings.HasSuffix(by, "process "+strconv.Itoa(r.cmd.Process.Pid)) {
						lost, standby = relays[i], relays[1-i]
					}
				}
				return lost != nil
			})
			over := make(chan struct{})
			var load sync.WaitGroup
			load.Go(func() {
				for {
					if err := commitStep(box, nil); err != nil {
						t.Error(err)
						return
					}
					select {
					case <-over:
						return
					case <-time.After(time.Millisecond):
					}
				}
			})
			eventually(t, "events arrive", func() bool { return sub.Count() > 100 })
			if hang {
				require.NoError(t, lost.cmd.Process.Signal(syscall.SIGSTOP))
			} else {
				lost.kill()
			}
			eventually(t, "the other one drains", func() bool {
				return strings.HasSuffix(drainedBy(), "process "+strconv.Itoa(standby.cmd.Process.Pid))
			})
			arrived := sub.Count()
			eventually(t, "more events arrive", func() bool { return sub.Count() > arrived+100 })
			if hang {
				require.NoError(t, lost.cmd.Process.Signal(syscall.SIGCONT))
				arrived = sub.Count()
				eventually(t, "still more events arrive", func() bool { return sub.Count() > arrived+100 })
			}
			close(over)
			load.Wait()
			waitEmpty(t, box)
			standby.end()
			if hang {
				lost.end()
			}
			stop()
			eventually(t, "every event has arrived", func() bool { return len(distinct(history(sub))) == len(committed(t, box)) })
			require.Empty(t, redistest.Check(committed(t, box), history(sub), nil))
			requireSound(t, box)
		})
	}
}

// startUntilEmpty runs relay --until-empty in the background.
func startUntilEmpty(t *testing.T, env []string, timeout string) (cmd *exec.Cmd, ended <-chan int, stderr *bytes.Buffer) {
	t.Helper()
	cmd = program(t, env, "relay", "--until-empty", "--timeout", timeout)
	stderr = &bytes.Buffer{}
	cmd.Stderr = stderr
	require.NoError(t, cmd.Start())
	codes := make(chan int, 1)
	go func() {
		_ = cmd.Wait()
		codes <- cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, codes, stderr
}

func exitCode(t *testing.T, ended <-chan int) int {
	t.Helper()
	select {
	case code := <-ended:
		return code
	case <-time.After(redistest.Patience):
		require.Fail(t, "it does not end")
		return -1
	}
}

func TestUntilEmptyGoesOnWhenTheFileChangesHands(t *testing.T) {
	t.Parallel()
	server := redistest.New(t, redistest.Options{}) // away, for now
	path := filepath.Join(shortFolder(t), "test.db")
	box := openBox(t, path)
	require.NoError(t, commitStep(box, nil))
	stop := serve(t, control.Options{Outbox: box})
	env := append(separateEnv(path, server), "RELAY_MIN_RECEIVERS=match_updates=0")
	_, ended, stderr := startUntilEmpty(t, env, "10m")
	eventually(t, "it drains over the socket", func() bool {
		s, ok := whoever(path)
		return ok && s.DrainedBy != ""
	})
	stop()
	require.NoError(t, box.Close())
	eventually(t, "it has opened the file itself", func() bool {
		s, ok := whoever(path)
		return ok && s.Relay != nil && s.DrainedBy == ""
	})
	server.Start()
	require.Zero(t, exitCode(t, ended), stderr.String())
	waitEmpty(t, openBox(t, path))
}

func TestUntilEmptyKeepsItsTimeWhenTheProcessHangs(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	path := filepath.Join(shortFolder(t), "test.db")
	box := openBox(t, path)
	require.NoError(t, commitStep(box, nil))
	require.NoError(t, box.Close())
	env := separateEnv(path, server) // nobody subscribes: the event is held
	holder := startSeparate(t, env)
	eventually(t, "the relay has the file", func() bool {
		s, ok := whoever(path)
		return ok && s.Relay != nil
	})
	_, ended, stderr := startUntilEmpty(t, env, "5s")
	require.NoError(t, holder.cmd.Process.Signal(syscall.SIGSTOP))
	require.Contains(t, []int{4, 6}, exitCode(t, ended), stderr.String())

	cmd, ended, stderr := startUntilEmpty(t, env, "1h")
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NotZero(t, exitCode(t, ended), stderr.String())
	require.NoError(t, holder.cmd.Process.Signal(syscall.SIGCONT))
	holder.end()
}
