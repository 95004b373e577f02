package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/integration_test/stranger"
	"github.com/PitchConnect/matchrelay/outbox"
)

// clinic is a redis-server and the place of an outbox file, both healthy until a test changes something.
type clinic struct {
	t      *testing.T
	server *redistest.Server
	db     string
	env    []string // beyond REDIS_URL
}

func newClinic(t *testing.T, opts redistest.Options) *clinic {
	t.Parallel()
	if opts.Persistence == "" {
		opts.Persistence = redistest.AOF
	}
	c := &clinic{t: t, server: redistest.Start(t, opts), db: filepath.Join(t.TempDir(), "test.db")}
	c.env = []string{"REDIS_URL=" + c.server.URL(), "RELAY_MIN_RECEIVERS=match_updates=0", "OUTBOX_MAX_BYTES=64MiB",
		"REDIS_CONNECTION_TIMEOUT=60", "REDIS_SOCKET_TIMEOUT=60"} // whatever answers does so in time
	return c
}

// do runs a command, which must succeed.
func (c *clinic) do(args ...string) {
	c.t.Helper()
	code, _, stderr := call(c.t, c.t.Context(), c.configure, append(args, "--db", c.db)...)
	require.Zero(c.t, code, stderr)
}

func (c *clinic) configure(a *app) {
	a.environ = c.env
	a.stdin = strings.NewReader(`[{"matchid":1}]`)
}

// ingestAndDeliver adds an event to the file and lets Redis accept it.
func (c *clinic) ingestAndDeliver(list string) {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), "list.json")
	require.NoError(c.t, os.WriteFile(file, []byte(list), 0o600))
	c.do("ingest", file)
	c.do("relay", "--until-empty")
}

func (c *clinic) redis(args ...any) {
	c.t.Helper()
	require.NoError(c.t, c.server.Client().Do(c.t.Context(), args...).Err())
}

// examine runs the doctor and returns its checks by name.
func (c *clinic) examine(env ...string) (code int, checks map[string]check) {
	c.t.Helper()
	all := c.env
	c.env = append(slices.Clone(all), env...)
	defer func() { c.env = all }()
	code, stdout, stderr := call(c.t, c.t.Context(), c.configure, "doctor", "-o", "json", "--db", c.db)
	var report checkReport
	require.NoError(c.t, json.Unmarshal([]byte(stdout), &report), stderr)
	require.Equal(c.t, len(report.Checks), report.OK+report.Warn+report.Fail+report.Skipped)
	checks = map[string]check{}
	for _, d := range report.Checks {
		checks[d.Name] = d
	}
	require.Len(c.t, checks, len(doctorChecks))
	return code, checks
}

// expect examines and compares one check.
func (c *clinic) expect(name string, status checkStatus, found, mend string, env ...string) {
	c.t.Helper()
	code, checks := c.examine(env...)
	got := checks[name]
	require.Equal(c.t, status, got.Status, "%s: %s", name, got.Found)
	require.Contains(c.t, got.Found, found, name)
	require.Contains(c.t, got.Mend, mend, name)
	if status == checkFail && name != "connection" {
		require.Equal(c.t, exitFailure, code)
	}
}

func TestDoctorIsContentAndChangesNothing(t *testing.T) {
	c := newClinic(t, redistest.Options{})
	sub := redistest.Subscribe(t, c.server.Addr(), redistest.SubscriberOptions{Channels: []string{"fogis:matches:updates"}})
	sub.WaitSubscribed(1)
	c.ingestAndDeliver(`[{"matchid":1}]`)
	sub.WaitFor(1)
	look := func() (file []byte, at time.Time, keys int64) {
		file, err := os.ReadFile(c.db)
		require.NoError(t, err)
		info, err := os.Stat(c.db)
		require.NoError(t, err)
		keys, err = c.server.Client().DBSize(t.Context()).Result()
		require.NoError(t, err)
		return file, info.ModTime(), keys
	}
	file, at, keys := look()
	code, checks := c.examine("RELAY_MIN_RECEIVERS=match_updates=1")
	require.Equal(t, exitOK, code)
	for name, d := range checks {
		require.Equal(t, checkOK, d.Status, "%s: %s", name, d.Found)
		require.Empty(t, d.Mend)
	}
	require.Contains(t, checks["marks"].Found, "match_updates #1")
	fileNow, atNow, keysNow := look()
	require.Equal(t, file, fileNow)
	require.Equal(t, at, atNow)
	require.Equal(t, keys, keysNow)
	require.Len(t, sub.Messages(), 1)
	names, err := os.ReadDir(filepath.Dir(c.db))
	require.NoError(t, err)
	require.Len(t, names, 1)
}

func TestDoctorFindsWhatIsWrongWithTheFile(t *testing.T) {
	c := newClinic(t, redistest.Options{})
	folder := filepath.Dir(c.db)
	c.expect("file", checkOK, "not made yet", "")
	c.expect("marks", checkSkipped, "not made yet", "")
	require.NoFileExists(t, c.db)
	_, checks := c.examine()
	require.Contains(t, checks["clock"].Found, "Redis's")

	c.do("ingest", "-")
	require.NoError(t, os.Chmod(c.db, 0o644))
	c.expect("file", checkFail, "0644", "chmod 600 "+c.db)
	c.expect("marks", checkSkipped, "not opened", "")
	info, err := os.Stat(c.db)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o644), info.Mode(), "only told, not mended")
	require.NoError(t, os.Chmod(c.db, 0o600))

	require.NoError(t, os.Chmod(folder, 0o777))
	c.expect("disk", checkWarn, "others can replace", "chmod go-w "+folder)
	require.NoError(t, os.Chmod(folder, os.ModeSticky|0o777))
	c.expect("disk", checkWarn, "take the name of file or socket", "point MATCHRELAY_DB to a folder")
	require.NoError(t, os.Chmod(folder, 0o700))
	shared := t.TempDir()
	require.NoError(t, os.Chmod(shared, os.ModeSticky|0o777))
	c.expect("disk", checkWarn, "others can write to "+shared, "point MATCHRELAY_SOCKET to a folder", "MATCHRELAY_SOCKET="+shared+"/s")
	c.expect("disk", checkWarn, "may grow by", "lower OUTBOX_MAX_BYTES", "OUTBOX_MAX_BYTES=900000GiB")

	o, err := outbox.Open(c.db, outbox.Options{})
	require.NoError(t, err)
	c.expect("file", checkOK, "held by process", "")
	c.expect("marks", checkSkipped, "held by process", "")
	c.expect("pending", checkSkipped, "held by process", "")
	require.NoError(t, o.Close())

	socket := filepath.Join(folder, "s")
	require.NoError(t, os.WriteFile(socket, nil, 0o600))
	c.expect("file", checkFail, "no socket", "MATCHRELAY_SOCKET", "MATCHRELAY_SOCKET="+socket)
	require.NoError(t, os.Remove(socket))
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, os.Chmod(socket, 0o666))
	c.expect("file", checkFail, "0666", "chmod 600 "+socket, "MATCHRELAY_SOCKET="+socket)
	require.NoError(t, os.Chmod(socket, 0o600))
	c.expect("file", checkOK, "1 event", "", "MATCHRELAY_SOCKET="+socket)
	c.expect("file", checkWarn, "cannot be looked at", "", "MATCHRELAY_SOCKET="+c.db+"/s")
	c.expect("settings", checkWarn, "REDIS_ULR is not a variable", "config print", "REDIS_ULR=x")

	if stranger.Try(t) == nil {
		require.NoError(t, os.Chown(c.db, stranger.ID, -1))
		c.expect("file", checkWarn, fmt.Sprint("belongs to the user ", stranger.ID), "chown")
	}
	require.NoError(t, os.Truncate(c.db, 0))
	c.expect("file", checkFail, "it is empty", "")
	c.db += "/below"
	c.expect("file", checkFail, "not a directory", "")
	c.expect("pending", checkSkipped, "cannot be looked at", "")
	c.expect("disk", checkFail, "no folder", "MATCHRELAY_DB")
}

func TestDoctorFindsWhatWaits(t *testing.T) {
	c := newClinic(t, redistest.Options{})
	makeOutbox(t, c.db)
	c.expect("pending", checkWarn, "1 event parked", "events list --state parked")

	later := time.Now().Add(time.Hour)
	for _, now := range []time.Time{later, time.Now().Add(-time.Hour)} {
		o, err := outbox.Open(c.db, outbox.Options{Now: func() time.Time { return now }})
		require.NoError(t, err)
		_, err = o.Add(t.Context(), outbox.Event{Topic: "match_updates", MessageID: uuid.NewString(), Payload: []byte("{}")})
		require.NoError(t, err)
		require.NoError(t, o.Close())
		if now == later {
			c.expect("clock", checkWarn, "in the future", "set the clock")
			require.NoError(t, os.Remove(c.db))
		}
	}
	c.expect("pending", checkWarn, "the oldest for 1h0m", "relay --until-empty")
}

func TestDoctorComparesTheMarks(t *testing.T) {
	c := newClinic(t, redistest.Options{})
	copyTo := func(from, to string) {
		data, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to, data, 0o600))
	}
	c.do("ingest", "-")
	copyTo(c.db, c.db+".pending")
	c.do("relay", "--until-empty")
	copyTo(c.db, c.db+".first")
	c.expect("marks", checkOK, "match_updates #1", "")

	copyTo(c.db+".pending", c.db)
	c.expect("marks", checkOK, "an answer was lost", "")

	copyTo(c.db+".first", c.db)
	c.ingestAndDeliver(`[{"matchid":1},{"matchid":2}]`)
	c.expect("marks", checkOK, "match_updates #2", "")
	c.expect("marks", checkWarn, "processing_status: Redis has #2, an event of match_updates, whose channel that was", "exchanged",
		"REDIS_MATCH_UPDATES_CHANNEL=fogis:processor:status", "REDIS_PROCESSOR_STATUS_CHANNEL=fogis:matches:updates")
	copyTo(c.db, c.db+".second")
	copyTo(c.db+".first", c.db)
	c.expect("marks", checkWarn, "Redis has #2, which the file does not know", "older file")

	copyTo(c.db+".second", c.db)
	c.redis("FLUSHALL")
	c.expect("marks", checkWarn, "Redis has forgotten", "persistence")
}

func TestDoctorFindsARedisThatCannotBeReached(t *testing.T) {
	c := newClinic(t, redistest.Options{Config: []string{"requirepass secret"}})
	down := redistest.New(t, redistest.Options{})
	for _, tt := range []struct{ name, url, found, mend string }{
		{"nobody listens", down.URL(), "connection refused", "start Redis"},
		{"no password", c.server.URL(), "NOAUTH", "set REDIS_PASSWORD"},
		{"a wrong password", "redis://:hunter2@" + c.server.Addr(), "WRONGPASS", "correct REDIS_USERNAME"},
		{"TLS to a plain port", "rediss://" + c.server.Addr(), "outage", "begin REDIS_URL with redis://"},
		{"a Cluster that is none", "redis://:secret@" + c.server.Addr() + ",redis://:secret@localhost:" + port(c.server), "cluster support disabled", "give one address"},
	} {
		env := []string{"REDIS_URL=" + tt.url}
		if strings.HasPrefix(tt.url, "rediss:") { // a plain port waits for more, and never answers
			env = append(env, "REDIS_CONNECTION_TIMEOUT=1", "REDIS_SOCKET_TIMEOUT=2")
		}
		code, checks := c.examine(env...)
		require.Equal(t, exitUnreachable, code, tt.name)
		require.Equal(t, checkFail, checks["connection"].Status, tt.name)
		require.Contains(t, checks["connection"].Found, tt.found, tt.name)
		require.Contains(t, checks["connection"].Mend, tt.mend, tt.name)
		require.NotContains(t, checks["connection"].Found, "hunter2")
		for _, name := range []string{"version", "role", "rights", "eviction", "persistence", "limits", "receivers", "marks"} {
			require.Equal(t, checkSkipped, checks[name].Status, name)
		}
		require.Equal(t, checkOK, checks["disk"].Status)
	}
	code, checks := c.examine("REDIS_PUBSUB_ENABLED=false")
	require.Equal(t, exitOK, code)
	require.Equal(t, checkSkipped, checks["connection"].Status)
	require.Equal(t, checkSkipped, checks["role"].Status)
	require.Equal(t, checkSkipped, checks["clock"].Status)
	require.Equal(t, checkSkipped, checks["rights"].Status)
}

func port(s *redistest.Server) string { return s.Addr()[strings.LastIndex(s.Addr(), ":")+1:] }

func TestDoctorFindsAReplica(t *testing.T) {
	c := newClinic(t, redistest.Options{Config: []string{"min-replicas-max-lag 10"}})
	c.expect("role", checkFail, "0 replicas connected", "lower RELAY_WAIT_REPLICAS", "RELAY_WAIT_REPLICAS=1")
	c.redis("CONFIG", "SET", "min-replicas-to-write", "1")
	c.expect("role", checkFail, "takes no writes", "min-replicas-to-write")
	c.redis("CONFIG", "SET", "min-replicas-to-write", "0")

	replica := redistest.Start(t, redistest.Options{Config: []string{"replicaof 127.0.0.1 " + port(c.server)}})
	c.expect("role", checkFail, "a replica of "+c.server.Addr(), "point REDIS_URL to the master", "REDIS_URL="+replica.URL())
	client := c.server.Client()
	require.Eventually(t, func() bool {
		return strings.Contains(client.Info(t.Context(), "replication").Val(), "state=online")
	}, redistest.Patience, 5*time.Millisecond)
	c.expect("role", checkOK, "master, 1 replica", "", "RELAY_WAIT_REPLICAS=1")
}

func TestDoctorFindsMissingRights(t *testing.T) {
	c := newClinic(t, redistest.Options{})
	c.do("ingest", "-")
	as := func(rights ...any) string {
		c.redis(append([]any{"ACL", "SETUSER", "relay", "reset", "on", ">pw", "-@all", "~matchrelay:*", "&fogis:*"}, rights...)...)
		return "REDIS_URL=redis://relay:pw@" + c.server.Addr()
	}
	url := as("+hello", "+evalsha", "+script|load", "+hmget", "+hset", "+expire", "+publish")
	c.expect("rights", checkWarn, "no right of PUBSUB NUMSUB, needed to count subscribers", "ACL SETUSER relay +info +pubsub|numsub +client|list +config|get", url)
	code, checks := c.examine(url)
	require.Equal(t, exitOK, code)
	for name, right := range map[string]string{"eviction": "+info", "persistence": "+info", "clock": "+info", "limits": "+config|get", "keepalive": "+config|get", "receivers": "+pubsub|numsub"} {
		require.Equal(t, checkWarn, checks[name].Status)
		require.Contains(t, checks[name].Found, "cannot be seen without the right "+right)
	}
	c.expect("role", checkWarn, "without the right +info", "", url, "RELAY_WAIT_REPLICAS=1")
	c.expect("receivers", checkWarn, "without the right +type", "", url, "RELAY_STREAMS=on")
	c.expect("rights", checkFail, "no right of XADD on {fogis:matches:updates}:stream, {fogis:processor:status}:stream, {fogis:system:alerts}:stream",
		"+xadd +exists +xrevrange", url, "RELAY_STREAMS=on")

	url = as("+evalsha", "+script|load", "+hmget", "+hset", "+expire", "+info", "+pubsub|numsub", "+client|list")
	c.expect("rights", checkFail, "no right of PUBLISH on fogis:matches:updates",
		"ACL SETUSER relay &fogis:matches:updates &fogis:processor:status &fogis:system:alerts +publish +config|get (and", url)
	c.expect("persistence", checkOK, "AOF", "", url)
	c.redis("CONFIG", "SET", "appendonly", "no")
	c.expect("persistence", checkWarn, "without the right +config|get", "", url)

	c.expect("connection", checkFail, "NOPERM", "ACL SETUSER relay +select (and", url+"/1")
	url = as("+evalsha", "+script|load", "+publish", "+hset", "+expire")
	c.expect("marks", checkWarn, "NOPERM", "", url)
	url = as("+evalsha")
	c.expect("rights", checkFail, "script|load", "ACL SETUSER relay ~matchrelay:* &fogis:matches:updates &fogis:processor:status &fogis:system:alerts +hello +evalsha +script|load +hmget +hset +expire +publish", url)
}

func TestDoctorFindsWhatIsWrongWithRedis(t *testing.T) {
	c := newClinic(t, redistest.Options{})
	c.redis("CONFIG", "SET", "maxmemory", "1gb", "maxmemory-policy", "allkeys-lru")
	c.expect("eviction", checkWarn, "maxmemory-policy is allkeys-lru", "CONFIG SET maxmemory-policy noeviction (and CONFIG REWRITE")
	c.redis("CONFIG", "SET", "maxmemory-policy", "noeviction")
	c.expect("eviction", checkOK, "noeviction", "")
	c.redis("CONFIG", "SET", "maxmemory", "1mb")
	c.expect("eviction", checkWarn, "of 1.0 MiB are used", "raise maxmemory")
	c.redis("CONFIG", "SET", "maxmemory", "0")

	c.redis("CONFIG", "SET", "proto-max-bulk-len", "1mb")
	c.expect("limits", checkWarn, "proto-max-bulk-len is 1.0 MiB", "CONFIG SET proto-max-bulk-len 33554432")
	c.redis("CONFIG", "SET", "proto-max-bulk-len", "512mb", "client-query-buffer-limit", "10mb")
	c.expect("limits", checkWarn, "client-query-buffer-limit is 10.0 MiB", "or OUTBOX_MAX_EVENT_BYTES=9437184")
	c.expect("limits", checkOK, "an event of 9.0 MiB fits", "", "OUTBOX_MAX_EVENT_BYTES=9437184")
	c.redis("CONFIG", "SET", "client-query-buffer-limit", "1gb", "client-output-buffer-limit", "pubsub 16mb 8mb 60")
	c.expect("limits", checkWarn, "disconnects its subscribers", `client-output-buffer-limit "pubsub 33554432 8388608 60"`)
	c.redis("CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0")
	c.expect("limits", checkOK, "fits", "")

	c.expect("keepalive", checkOK, "after about 600 s", "")
	c.redis("CONFIG", "SET", "tcp-keepalive", "301")
	c.expect("keepalive", checkWarn, "tcp-keepalive is 301 s", "CONFIG SET tcp-keepalive 60")
	c.redis("CONFIG", "SET", "tcp-keepalive", "0")
	c.expect("keepalive", checkWarn, "never drops", "CONFIG SET tcp-keepalive 60")

	c.expect("receivers", checkWarn, "match_updates has 0 subscribers and waits for 1", "start a subscriber of fogis:matches:updates", "RELAY_MIN_RECEIVERS=match_updates=1")
	c.redis("SET", "{fogis:matches:updates}:stream", "x")
	c.expect("receivers", checkWarn, "is a string and no stream", "rename or delete", "RELAY_STREAMS=on")

	c.redis("CONFIG", "SET", "appendfsync", "no")
	c.expect("persistence", checkWarn, "appendfsync is no", "everysec")
	c.redis("CONFIG", "SET", "appendonly", "no")
	c.expect("persistence", checkWarn, "which the relay restores", "appendonly yes")
	c.expect("persistence", checkWarn, "streams", "appendonly yes", "RELAY_STREAMS=on")
	c.redis("CONFIG", "SET", "save", "86400 1")
	c.expect("persistence", checkOK, "save 86400 1", "")
	require.NoError(t, os.Mkdir(filepath.Join(c.server.Dir(), "dump.rdb"), 0o700))
	c.redis("BGSAVE")
	client := c.server.Client()
	require.Eventually(t, func() bool {
		return strings.Contains(client.Info(t.Context(), "persistence").Val(), "rdb_last_bgsave_status:err")
	}, redistest.Patience, 5*time.Millisecond)
	c.expect("persistence", checkFail, "MISCONF", "free disk space")
	c.redis("CONFIG", "SET", "save", "")
}
