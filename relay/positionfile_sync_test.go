package relay_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/disktest"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestPositionFile_IsOnTheDiskBeforeItGetsItsName(t *testing.T) {
	const saveEnv = "RELAY_TEST_SAVE_POSITION" // to the file that it names, in a process of its own
	if path := os.Getenv(saveEnv); path != "" {
		require.NoError(t, relay.PositionFile(path).Save(context.Background(), relay.Position{Stream: newsStream, EntryID: "1-0"}))
		return
	}
	path := filepath.Join(t.TempDir(), "position.json")
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), saveEnv+"="+path)
	disktest.Trace(t, cmd).RequireNamedDurably(t, path+".tmp", path)
}
