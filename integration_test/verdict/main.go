// Verdict runs `go test -json` and says how it goes: which package begins, Go's own line when it has ended, all that a package
// said in which something failed, and as the last line whether all passed, how many there were and how long they took.
//
//	verdict NAME go test -json ./...
//
// It exits as go test does.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: verdict NAME go test -json PACKAGE...")
		os.Exit(2)
	}
	code, err := run(os.Args[1], os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "verdict:", err)
	}
	os.Exit(code)
}

// run runs the command, gives it the signals that it gets itself, and returns its exit code.
func run(name string, args []string) (code int, err error) {
	begun := time.Now()
	command := exec.Command(args[0], args[1:]...)
	command.Stdin, command.Stderr = os.Stdin, os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		return 2, err
	}
	if err := command.Start(); err != nil {
		return 2, err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		for s := range signals {
			if s != syscall.SIGINT { // the terminal gives that one to both
				_ = command.Process.Signal(s)
			}
		}
	}()
	r := newReport(os.Stdout)
	readErr := r.read(out)
	err = command.Wait()
	code = command.ProcessState.ExitCode()
	if exited := new(exec.ExitError); errors.As(err, &exited) {
		err = nil
	}
	if code < 0 {
		code = 1 // a signal ended it
	}
	fmt.Fprintln(os.Stdout, r.verdict(name, code == 0, time.Since(begun)))
	return code, errors.Join(readErr, err)
}
