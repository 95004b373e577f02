package integration_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
)

// terminal is a pseudo-terminal whose screen a test reads.
type terminal struct {
	t    *testing.T
	side *os.File // what the program has as its standard error

	mu     sync.Mutex
	screen bytes.Buffer // guarded by mu
}

func openTerminal(t *testing.T) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	number, unlocked := 0, 0
	for _, call := range []struct {
		request uintptr
		value   *int
	}{{syscall.TIOCGPTN, &number}, {syscall.TIOCSPTLCK, &unlocked}} {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), call.request, uintptr(unsafe.Pointer(call.value)))
		require.Zero(t, errno)
	}
	side, err := os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	term := &terminal{t: t, side: side}
	var reading sync.WaitGroup
	reading.Go(func() {
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			if err != nil { // nobody has the other side open
				return
			}
			term.mu.Lock()
			term.screen.Write(b[:n])
			term.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = side.Close()
		reading.Wait()
		require.NoError(t, master.Close())
	})
	return term
}

// shows waits until the screen has a text, while the program runs.
func (term *terminal) shows(text string) {
	term.t.Helper()
	require.Eventually(term.t, func() bool { return strings.Contains(term.text(), text) }, redistest.Patience, time.Millisecond,
		"the terminal never shows %q", text)
}

func (term *terminal) text() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.screen.String()
}
