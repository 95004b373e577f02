package integration_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
)

// hostileMemory is how many bytes of memory the program may take at most, with all that it has mapped, whatever Redis answers.
const hostileMemory = 200 << 20

// hostile lets connections to a real server come about, but then gives one answer to whatever is asked. told counts those.
func hostile(t *testing.T, upstream string, answer []byte) (addr string, told *atomic.Int64) {
	t.Helper()
	told = &atomic.Int64{}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var conns sync.WaitGroup
	serve := func(client net.Conn) {
		defer client.Close()
		server, err := net.Dial("tcp", upstream)
		if err != nil {
			return
		}
		defer server.Close()
		conns.Go(func() {
			_, _ = io.Copy(client, server)
			_ = client.Close()
		})
		command := make([]byte, 64<<10)
		for {
			n, err := client.Read(command)
			if err != nil {
				return
			}
			to, said := server, command[:n]
			if !bytes.Contains(said, []byte("\r\nhello\r\n")) {
				to, said = client, answer
				told.Add(1)
			}
			if _, err := to.Write(said); err != nil {
				return
			}
		}
	}
	conns.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { serve(client) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		conns.Wait() // for the program has ended before
	})
	return listener.Addr().String(), told
}

// peakMemory is the most that a process ever had resident.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(status)) {
		if words := strings.Fields(line); words[0] == "VmHWM:" {
			kb, err := strconv.Atoi(words[1])
			require.NoError(t, err)
			return kb << 10
		}
	}
	t.Fatal("no VmHWM in /proc/PID/status")
	return 0
}

func TestHostileRedis_TakesNoMemoryAndNoEvent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the peak of a process's memory is read from /proc")
	}
	t.Parallel()
	const large = 15_999_900
	text, array := fmt.Appendf(nil, "$%d\r\n%s\r\n", large, strings.Repeat("x", large)), []byte("*200000\r\n"+strings.Repeat("$5\r\nxxxxx\r\n", 200_000))
	for name, answer := range map[string][]byte{
		"strings larger than any answer": []byte("$67108864\r\n"),
		"strings as large as an answer":  text,
		"strings that do not end":        text[:100],
		"arrays larger than any answer":  []byte("*2000000\r\n"),
		"arrays as large as an answer":   array,
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t, redistest.Options{})
			sub := redistest.Subscribe(t, server.Addr(), redistest.SubscriberOptions{Channels: []string{"fogis:matches:updates"}})
			sub.WaitSubscribed(1)
			addr, told := hostile(t, server.Addr(), answer)
			d := newDaemon(t, "REDIS_URL=redis://"+addr, "REDIS_SOCKET_TIMEOUT=2", "REDIS_RETRY_DELAY=0.01", "REDIS_RETRY_MAX_DELAY=0.02",
				"REDIS_HEALTH_CHECK_INTERVAL=0.1")
			list := filepath.Join(t.TempDir(), "list.json")
			require.NoError(t, os.WriteFile(list, []byte(sidecarList), 0o600))
			runOK(t, d.env, "ingest", list)
			d.start()
			eventually(t, "it was answered often", func() bool { return told.Load() >= 20 })
			peak := peakMemory(t, d.cmd.Process.Pid)
			t.Logf("%d MiB at most", peak>>20)
			require.Less(t, peak, hostileMemory)
			require.NoError(t, d.cmd.Process.Signal(syscall.SIGTERM))
			require.NoError(t, d.cmd.Wait(), "it has not ended but by the signal: %s", d.log)
			d.cmd = nil
			runOK(t, append(d.env, "REDIS_URL=redis://"+server.Addr()), "relay", "--until-empty")
			sub.WaitFor(1)
			require.Len(t, sub.Messages(), 1)
		})
	}
}
