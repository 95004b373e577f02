package config

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/stranger"
)

func TestEnvFile_OfOthersIsNotRead(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(mode os.FileMode) {
		require.NoError(t, os.RemoveAll(DefaultEnvFile))
		require.NoError(t, os.WriteFile(DefaultEnvFile, []byte("REDIS_URL=redis://me:hunter2@evil.example"), 0o600))
		require.NoError(t, os.Chmod(DefaultEnvFile, mode))
	}
	refused := func(says string) {
		t.Helper()
		for _, name := range []string{"", DefaultEnvFile} {
			_, err := Load(Options{Environ: []string{}, EnvFile: name})
			require.ErrorIs(t, err, ErrEnvFile)
			require.ErrorContains(t, err, "cannot use the env file: .env "+says)
			require.NotContains(t, err.Error(), "hunter2")
		}
	}
	write(0o602)
	refused("can be written by others, its mode is 0602: chmod go-w .env")
	for _, mode := range []os.FileMode{0o400, 0o644, 0o664} {
		write(mode)
		_, err := Load(Options{Environ: []string{}})
		require.NoError(t, err, "mode %04o; the group is this process's own", mode)
	}
	_, err := Load(Options{Environ: []string{}, EnvFile: os.DevNull})
	require.NoError(t, err, "a device that everybody can write to")

	t.Run("that belongs to somebody else", func(t *testing.T) {
		stranger.Need(t)
		write(0o620)
		require.NoError(t, os.Chown(DefaultEnvFile, 0, stranger.ID))
		refused("can be written by others, its mode is 0620: chmod go-w .env")
		write(0o600)
		require.NoError(t, os.Chown(DefaultEnvFile, stranger.ID, stranger.ID))
		refused("belongs to the user 65534, not to this one (0) or root: chown it, or set its variables in the environment")
		require.NoError(t, os.Remove(DefaultEnvFile))
		require.NoError(t, syscall.Mkfifo(DefaultEnvFile, 0o600))
		require.NoError(t, os.Chown(DefaultEnvFile, stranger.ID, stranger.ID))
		refused("belongs to the user 65534")
	})
}

func TestAnEnvFileThatCannotBeUsedIsAnErrorThatQuotesNothingOfIt(t *testing.T) {
	dir := t.TempDir()
	_, err := Load(Options{EnvFile: filepath.Join(dir, "absent.env")})
	require.ErrorIs(t, err, ErrEnvFile)
	require.ErrorIs(t, err, os.ErrNotExist)

	for _, tt := range []struct{ name, content, where string }{
		{"an unterminated quote", "A=1\nREDIS_PASSWORD=\"topsecret\nB=2\n", "line 2:"},
		{"a line without =", "REDIS_PASSWORD=topsecret\n\ntopsecret\n", "line 3:"},
		{"no name", "=topsecret", "line 1:"},
		{"no = at the end of the file", "topsecret", "line 1:"},
		{"a mistake after a value of several lines", "A='x\ny'\n$topsecret=1", "line 3:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(dir, "bad.env")
			require.NoError(t, os.WriteFile(path, []byte(tt.content), 0o600))
			_, err := Load(Options{EnvFile: path})
			require.ErrorIs(t, err, ErrEnvFile)
			require.ErrorContains(t, err, tt.where)
			require.NotContains(t, err.Error(), "topsecret")
		})
	}
}
