package integration_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

func TestBadInputIsAClearErrorThatChangesNothing(t *testing.T) {
	t.Parallel()
	good := string(fogistest.List(1, 3, time.Now()))
	for _, c := range []struct {
		name string
		env  []string
		list string
		args []string
		code int
		says []string
	}{
		{name: "JSON that ends early", list: good[:len(good)/2], code: 1, says: []string{"match"}},
		{name: "not JSON at all", list: "<html>Bad gateway</html>", code: 1, says: []string{"list"}},
		{name: "a match without an id", list: `[{"matchnr":"1"}]`, code: 1, says: []string{"matchid"}},
		{name: "the same match twice", list: `[{"matchid":1},{"matchid":"1"}]`, code: 1, says: []string{"matchid", "1"}},
		{name: "an empty list after one with matches", list: `[]`, code: 1, says: []string{"--allow-empty"}},
		{name: "several wrong settings", list: good, env: []string{"REDIS_MAX_RETRIES=often", "REDIS_URL=http://user:hunter2@x", "OUTBOX_RETENTION=never"},
			code: 2, says: []string{"REDIS_MAX_RETRIES", "REDIS_URL", "OUTBOX_RETENTION"}},
		{name: "an unknown flag", list: good, args: []string{"--fast"}, code: 2, says: []string{"--fast"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			db := filepath.Join(t.TempDir(), "outbox.db")
			env := append([]string{"MATCHRELAY_DB=" + db}, c.env...)
			require.Zero(t, runInput(t, []string{"MATCHRELAY_DB=" + db}, good, "ingest", "-").code)
			before, err := os.ReadFile(db)
			require.NoError(t, err)
			r := runInput(t, env, c.list, append([]string{"ingest", "-"}, c.args...)...)
			require.Equal(t, c.code, r.code, r.stderr)
			require.Empty(t, r.stdout)
			for _, text := range c.says {
				require.Contains(t, r.stderr, text)
			}
			require.NotContains(t, r.stderr, "hunter2")
			after, err := os.ReadFile(db)
			require.NoError(t, err)
			require.Equal(t, before, after, "the file is what it was")
		})
	}
}

func TestAFileThatIsNoOutboxIsRefusedAndLeftAlone(t *testing.T) {
	t.Parallel()
	whole := filepath.Join(t.TempDir(), "whole.db")
	require.NoError(t, openBox(t, whole).Close())
	content, err := os.ReadFile(whole)
	require.NoError(t, err)
	foreign := filepath.Join(t.TempDir(), "foreign.db")
	db, err := bolt.Open(foreign, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	foreignContent, err := os.ReadFile(foreign)
	require.NoError(t, err)
	for name, bytes := range map[string][]byte{
		"an empty file":        {},
		"a truncated file":     content[:len(content)/2],
		"some text":            []byte(strings.Repeat("not a database\n", 1000)),
		"another's bbolt file": foreignContent,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "outbox.db")
			require.NoError(t, os.WriteFile(path, bytes, 0o600))
			for _, args := range [][]string{{"status"}, {"ingest", "-"}, {"relay", "--until-empty"}, {"run", "--once", "--source", "x.json"}} {
				r := runInput(t, []string{"MATCHRELAY_DB=" + path}, `[{"matchid":1}]`, args...)
				require.Contains(t, []int{1, 5}, r.code, args)
				require.Contains(t, r.stderr, path)
			}
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(bytes), string(after))
		})
	}
}

func TestAHeldFileNamesItsHolder(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "outbox.db")
	box, err := outbox.Open(path, outbox.Options{})
	require.NoError(t, err)
	defer box.Close()
	r := run(t, []string{"MATCHRELAY_DB=" + path}, "status")
	require.Equal(t, 4, r.code)
	require.Contains(t, r.stderr, "held by process")
	require.Contains(t, r.stderr, filepath.Base(os.Args[0])[:8])
}

func TestAMissingFileIsNotFound(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "none.db")
	r := run(t, []string{"MATCHRELAY_DB=" + path}, "status")
	require.Equal(t, 3, r.code)
	require.Contains(t, r.stderr, path)
	require.NoFileExists(t, path)
}
