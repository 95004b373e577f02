package control

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func age(t *testing.T, path string) {
	t.Helper()
	before := time.Now().Add(-2 * folderAge)
	require.NoError(t, os.Chtimes(path, before, before))
}

// leaveSocket makes what a process leaves that is killed while it makes its socket.
func leaveSocket(t *testing.T, parent string) (folder string) {
	t.Helper()
	f, err := makeFolder(parent)
	require.NoError(t, err)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(f.Name(), socketName), Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	require.NoError(t, f.Close())
	return f.Name()
}

func TestTheFolderOfAKilledProcessIsRemovedByTheNextOne(t *testing.T) {
	box := openBox(t)
	parent := filepath.Dir(box.Path())
	old, fresh := leaveSocket(t, parent), leaveSocket(t, parent)
	age(t, old)
	working, err := makeFolder(parent)
	require.NoError(t, err)
	age(t, working.Name())
	mine := filepath.Join(parent, ".mr1")
	require.NoError(t, os.MkdirAll(filepath.Join(mine, "diary"), 0o700))
	age(t, mine)
	named := filepath.Join(parent, ".mrs")
	require.NoError(t, os.Mkdir(named, 0o700))
	age(t, named)

	g := start(t, box, nil, patient)
	require.NoError(t, g.stop())
	require.NoDirExists(t, old)
	require.DirExists(t, fresh, "its process may still be about to lock it")
	require.DirExists(t, working.Name(), "its process works in it")
	require.DirExists(t, filepath.Join(mine, "diary"), "not one of ours")
	require.DirExists(t, named)
	require.NoError(t, working.Close())
	sweepFolders(parent)
	require.NoDirExists(t, working.Name())
}
