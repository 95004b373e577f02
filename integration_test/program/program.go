// Package program is the matchrelay program for tests that run it as a process of its own: it is built once for the tests
// of all packages.
package program

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// Env names a program that is already built. `make test` sets it.
const Env = "MATCHRELAY_TEST_PROGRAM"

// Path is the program that the sources make now: the one that Env names, or else bin/matchrelay-under-test in this
// checkout, which it makes sure is up to date. It must be called within the checkout.
//
// The program stands in the checkout so that Go does not take a result of an earlier run for one of a test that runs it: it
// compares the files of the checkout that a test looked at.
func Path() (string, error) { return path() }

var path = sync.OnceValues(func() (string, error) {
	if built := os.Getenv(Env); built != "" {
		if !filepath.IsAbs(built) {
			return "", fmt.Errorf("%s: %s is not an absolute path", Env, built)
		}
		_, err := os.Stat(built)
		return built, err
	}
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return build(filepath.Dir(strings.TrimSpace(string(mod))))
})

// build builds the program, with the flags that most tests are built with: so Go has its packages compiled. It does nothing if
// the program is up to date. Only one process builds at a time: the others wait for it.
func build(root string) (string, error) {
	folder := filepath.Join(root, "bin")
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return "", err
	}
	built := filepath.Join(folder, "matchrelay-under-test")
	lock, err := os.OpenFile(built+".lock", os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	command := exec.Command("go", "build", "-buildvcs=false", "-o", built, "./cmd/matchrelay")
	command.Dir = root
	if out, err := command.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("build the program: %w", err), errors.New(string(out)))
	}
	return built, nil
}
