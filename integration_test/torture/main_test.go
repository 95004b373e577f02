package torture

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestMain(m *testing.M) {
	relay.QuietClientLog()
	if name := os.Getenv(roleEnv); name != "" {
		os.Exit(role(name))
	}
	goleak.VerifyTestMain(m, redistest.Leaks()...)
}
