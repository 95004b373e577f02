package main

import (
	"fmt"
	"io"
	"net"
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
		"stranger": func() { // listens at the socket that it is given
			l, err := net.Listen("unix", os.Args[1])
			if err == nil {
				err = os.Chmod(os.Args[1], 0o666)
			}
			fmt.Println(err)
			for err == nil {
				var conn net.Conn
				if conn, err = l.Accept(); err == nil {
					_, _ = io.Copy(os.Stdout, conn)
				}
			}
		},
		"crash": func() { _ = syscall.Kill(os.Getpid(), syscall.SIGBUS) },
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
