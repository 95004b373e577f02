package outbox

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/stranger"
)

// That the folders and names are on the disk is what integration_test/powerloss shows.

func TestMakeFolder_MakesWhatIsMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "c")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := makeFolder(dir); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	info, err := os.Stat(filepath.Dir(dir))
	require.NoError(t, err)
	require.Equal(t, fs.ModeDir|0o700, info.Mode())
	require.DirExists(t, dir)
	require.NoError(t, makeFolder("/"))

	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.ErrorIs(t, makeFolder(file), syscall.ENOTDIR)
	require.ErrorIs(t, makeFolder(filepath.Join(file, "x")), syscall.ENOTDIR)
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(filepath.Join(dir, "nowhere"), link))
	require.Error(t, makeFolder(filepath.Join(link, "x")))
}

func TestOpen_InAFolderThatMayNotBeRead(t *testing.T) {
	stranger.Need(t)
	o := openTemp(t, Options{})
	add(t, o, event("a", "1"))
	require.NoError(t, o.Close())
	dir := filepath.Dir(o.Path())
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	require.NoError(t, os.Chown(o.Path(), stranger.ID, -1))
	require.NoError(t, os.Chmod(dir, 0o711))
	var err error
	asNobody(t, func() {
		if o, err = Open(o.Path(), Options{}); err == nil {
			_, err = o.Add(ctx, event("a", "2"))
		}
	})
	require.NoError(t, err)
	require.Equal(t, []string{"1", "2"}, ids(t, o))
	require.NoError(t, o.Close())
}
