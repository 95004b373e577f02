package powerloss

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"

	"go.uber.org/goleak"
)

// childEnv makes the test binary, when it runs itself again, one of children instead.
const childEnv = "POWERLOSS_TEST_CHILD"

var children = map[string]func(args []string) error{"work": work, "check": check}

var ctx = context.Background()

func init() {
	if os.Getenv(childEnv) != "" {
		runtime.LockOSThread() // strace counts the calls of each thread: those of a workload are the main one's
	}
}

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		if err := children[name](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
