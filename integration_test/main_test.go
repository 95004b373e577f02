// Package integration_test holds the promises of the whole program as tests: real redis-servers that are killed and
// frozen, real files, real processes that die at any moment.
package integration_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestMain(m *testing.M) {
	relay.QuietClientLog()
	if os.Getenv(workerEnv) != "" {
		os.Exit(work())
	}
	// A client that could not connect for long tries once a second, and notices only then that it is closed.
	tries := goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial")
	goleak.VerifyTestMain(m, redistest.Leaks(tries)...)
}
