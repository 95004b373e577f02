package main

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/PitchConnect/matchrelay/relay"
)

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){
		"matchrelay": main,
		"racing":     main,
		"crash":      func() { _ = syscall.Kill(os.Getpid(), syscall.SIGBUS) },
		"circle": func() {
			if began := os.Getenv(circleEnv); began != "" {
				_ = os.WriteFile(began, nil, 0o600)
			}
			time.Sleep(time.Hour)
		},
	})
}

// circleEnv names a file that the process that never ends makes when it has begun.
const circleEnv = "MATCHRELAY_TEST_CIRCLE"

type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	relay.QuietClientLog()
	code := l.m.Run()
	if code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
