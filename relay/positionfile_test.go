package relay_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestAPositionFileHoldsWhatWasSavedLast(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "position.json")
	file := relay.PositionFile(path)
	p, err := file.Load(context.Background())
	require.NoError(t, err)
	require.Zero(t, p, "a missing file is no position")
	for _, want := range []relay.Position{
		{Stream: newsStream},
		{Stream: newsStream, EntryID: "1-0"},
		{Stream: newsStream, EntryID: "1-1", Origin: originA, Sequence: 1<<53 - 1, Handled: []relay.HandledOrigin{{Origin: originA, Sequence: 1<<53 - 1}}},
	} {
		require.NoError(t, file.Save(context.Background(), want))
		got, err := file.Load(context.Background())
		require.NoError(t, err)
		require.Equal(t, want, got)
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
		entries, err := os.ReadDir(filepath.Dir(path))
		require.NoError(t, err)
		require.Len(t, entries, 1)
	}
}

func TestPositionFile_WritesIntoNoFileOfAnother(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path, victim := filepath.Join(folder, "position.json"), filepath.Join(folder, "victim")
	require.NoError(t, os.WriteFile(victim, []byte("mine"), 0o644))
	require.NoError(t, os.Symlink(victim, path+".tmp"))
	file := relay.PositionFile(path)
	require.NoError(t, file.Save(context.Background(), relay.Position{Stream: newsStream, EntryID: "1-0"}))
	content, err := os.ReadFile(victim)
	require.NoError(t, err)
	require.Equal(t, "mine", string(content))

	require.NoError(t, os.Remove(path+".tmp"))
	require.NoError(t, os.WriteFile(path+".tmp", nil, 0o666))
	require.NoError(t, os.Chmod(path+".tmp", 0o666))
	require.NoError(t, file.Save(context.Background(), relay.Position{Stream: newsStream, EntryID: "1-1"}))
	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
}

func TestPositionFile_LeavesNoDraftsBehind(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "position.json")
	long := time.Now().Add(-time.Hour)
	for _, name := range []string{".tmp", ".tmp123", ".tmp12x", ".tmp-mine", ".bak"} {
		require.NoError(t, os.WriteFile(path+name, nil, 0o600))
		require.NoError(t, os.Chtimes(path+name, long, long))
	}
	require.NoError(t, os.Mkdir(path+".tmp7", 0o700))
	require.NoError(t, os.WriteFile(path+".tmp456", nil, 0o600)) // another process saves
	_, err := relay.PositionFile(path).Load(context.Background())
	require.NoError(t, err)
	require.NoFileExists(t, path+".tmp")
	require.NoFileExists(t, path+".tmp123")
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, entries, 5)

	require.NoError(t, os.Mkdir(path, 0o700)) // so that no file gets its name
	require.Error(t, relay.PositionFile(path).Save(context.Background(), relay.Position{Stream: newsStream}))
	entries, err = os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, entries, 6, "a draft that gets no name is removed")
}

func TestAPositionFileThatIsNoneEndsConsumeAndStaysAsItIs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, content, says string }{
		{"empty", "", "restore it, or delete it to begin anew"},
		{"cut short", `{"stream":"{test:news}:str`, "restore it, or delete it to begin anew"},
		{"something else", `{"name":"x"}`, "no stream is named"},
		{"a sequence that is none", `{"stream":"{test:news}:stream","sequence":-1}`, "restore it, or delete it to begin anew"},
		{"an entry that is none", `{"stream":"{test:news}:stream","entry_id":"abc"}`, `"abc" is no entry ID: restore it, or remove it to begin anew`},
		{"of another stream", `{"stream":"{test:alerts}:stream","entry_id":"1-0"}`, `belongs to the stream "{test:alerts}:stream": give each stream a position of its own`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "position.json")
			require.NoError(t, os.WriteFile(path, []byte(c.content), 0o600))
			r := newReader(t, redistest.Options{})
			r.opts.Store = relay.PositionFile(path)
			require.ErrorContains(t, r.consume(), c.says)
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, c.content, string(after))
		})
	}
}

func TestAPositionFileThatCannotBe(t *testing.T) {
	t.Parallel()
	r := newReader(t, redistest.Options{})
	r.opts.Store = relay.PositionFile(filepath.Join(t.TempDir(), "missing", "position.json"))
	require.ErrorIs(t, r.consume(), os.ErrNotExist, "the folder is missing")
	folder := t.TempDir()
	r.opts.Store = relay.PositionFile(folder)
	require.ErrorContains(t, r.consume(), "is a directory")
	require.Error(t, r.opts.Store.Save(context.Background(), relay.Position{Stream: newsStream}))
}
