package control

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/outbox"
)

func TestTheSocketHasMode0600AndLeavesNothingBehind(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	box := openBox(t)
	g := start(t, box, nil, patient)
	info, err := os.Lstat(g.path)
	require.NoError(t, err)
	require.Equal(t, os.ModeSocket|0o600, info.Mode())
	require.NoError(t, g.stop())
	left, err := filepath.Glob(filepath.Join(filepath.Dir(g.path), "*"))
	require.NoError(t, err)
	require.Equal(t, []string{box.Path()}, left)
	_, err = Dial(g.path)
	require.ErrorIs(t, err, ErrNotRunning)
	_, err = g.client.Status(t.Context())
	require.ErrorIs(t, err, ErrNotRunning)
	require.Contains(t, err.Error(), g.path)
}

func TestAStaleSocketIsReplaced(t *testing.T) {
	box := openBox(t)
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: box.Path() + ".sock", Net: "unix"})
	require.NoError(t, err)
	dead.SetUnlinkOnClose(false) // as SIGKILL leaves it
	require.NoError(t, dead.Close())
	_, err = Dial(box.Path() + ".sock")
	require.ErrorIs(t, err, ErrNotRunning)
	g := start(t, box, nil, patient)
	_, err = g.client.Status(t.Context())
	require.NoError(t, err)
}

func TestALiveSocketIsRefusedAndGoesOn(t *testing.T) {
	g := start(t, openBox(t), nil, patient)
	err := Serve(t.Context(), Options{Outbox: openBox(t), Path: g.path})
	require.ErrorIs(t, err, ErrInUse)
	require.ErrorContains(t, err, "serve control socket "+g.path)
	require.ErrorContains(t, err, "MATCHRELAY_SOCKET")
	s, err := g.client.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, g.box.Path(), s.File.Path)
}

func TestOnlyItsOwnSocketFileIsRemoved(t *testing.T) {
	first, second := openBox(t), openBox(t)
	path := filepath.Join(folder(t), "s")
	stopFirst := serving(t, Options{Outbox: first, Path: path}, patient)
	require.NoError(t, os.Remove(path)) // somebody cleans up, and another owner takes the name
	stopSecond := serving(t, Options{Outbox: second, Path: path}, patient)
	require.NoError(t, stopFirst())
	c, err := Dial(path)
	require.NoError(t, err)
	s, err := c.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, second.Path(), s.File.Path)
	require.NoError(t, c.Close())
	require.NoError(t, os.Rename(path, path+".away"))
	require.NoError(t, stopSecond(), "it is gone already")
}

func TestOwnersInTurn(t *testing.T) {
	box := openBox(t)
	for range 20 {
		stop := serving(t, Options{Outbox: box}, patient)
		require.NoError(t, stop())
		require.NoFileExists(t, box.Path()+".sock")
	}
}

func TestPathsThatNoSocketCanHave(t *testing.T) {
	box := openBox(t)
	dir := folder(t)
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o600))
	for _, tt := range []struct{ name, path, says string }{
		{"too long", filepath.Join(dir, strings.Repeat("x", 120)), "too long for a unix socket"},
		{"a file", file, "no socket; remove it, or name another one with MATCHRELAY_SOCKET"},
		{"no folder", filepath.Join(dir, "none", "s"), "no such file or directory"},
		{"below a file", filepath.Join(file, "s"), "not a directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.ErrorContains(t, Serve(t.Context(), Options{Outbox: box, Path: tt.path}), tt.says)
			_, err := Dial(tt.path)
			require.ErrorIs(t, err, ErrNotRunning)
		})
	}
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "mine", string(content))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func TestTheEndIsPromptAndCutsSlowClientsShort(t *testing.T) {
	box := openBox(t)
	lim := patient
	lim.arrive, lim.stall = time.Hour, time.Hour
	g := start(t, box, nil, lim)
	silent, err := net.Dial("unix", g.path)
	require.NoError(t, err)
	defer silent.Close()
	half, err := net.Dial("unix", g.path)
	require.NoError(t, err)
	defer half.Close()
	_, err = half.Write([]byte("POST /v1/events/replay HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{"))
	require.NoError(t, err)
	require.NoError(t, g.stop()) // otherwise it would take the hour that a request has to arrive
	require.NoError(t, box.Close(), "nobody uses it any more")
	_, err = box.Stats(t.Context())
	require.True(t, errors.Is(err, outbox.ErrClosed))
}
