package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// patientWith is one as the doctor gathers it from the settings alone; nothing was asked.
func patientWith(t *testing.T, env ...string) *patient {
	cfg, err := config.Load(config.Options{Environ: env, EnvFile: os.DevNull})
	require.NoError(t, err)
	return &patient{cfg: cfg, now: time.Now()}
}

// What this machine cannot bring about: other versions, other clocks, a full disk, and half a Cluster.
func TestHowTheDoctorJudges(t *testing.T) {
	at := time.Now()
	skewed := func(d time.Duration) relay.Node {
		return relay.Node{At: at, Info: map[string]string{"server_time_usec": strconv.FormatInt(at.Add(d).UnixMicro(), 10)}}
	}
	node := func(n relay.Node) func(*patient) { return func(p *patient) { p.nodes = []relay.Node{n} } }
	cluster := func(second relay.Node) func(*patient) {
		return func(p *patient) {
			fine := map[string]string{"cluster_state": "ok", "cluster_slots_ok": "16384"}
			p.nodes = []relay.Node{{Addr: "a:1", Role: "master", Mode: "cluster", Cluster: fine}, second}
		}
	}
	const nodes = "REDIS_URL=redis://a:1,redis://b:1"
	for _, tt := range []struct {
		name   string
		env    string
		with   func(*patient)
		judge  func(*patient, *check)
		status checkStatus
		found  string
	}{
		{"4.0", "", node(relay.Node{Version: "4.0.14"}), checkVersion, checkFail, "4.0.14"},
		{"6.0", "", node(relay.Node{Version: "6.0.16"}), checkVersion, checkWarn, "6.0.16"},
		{"6.2", "", node(relay.Node{Version: "6.2.0"}), checkVersion, checkOK, "6.2.0 (tested with 7)"},
		{"8.0", "", node(relay.Node{Version: "8.0.1"}), checkVersion, checkOK, "8.0.1 (tested with 7)"},
		{"no version", "", node(relay.Node{}), checkVersion, checkWarn, "+hello"},
		{"no role", "", node(relay.Node{}), checkRole, checkWarn, "+hello"},
		{"a replica that says no more", "", node(relay.Node{Role: "replica"}), checkRole, checkFail, "a replica of another"},
		{"a single node of a Cluster", "", node(relay.Node{Role: "master", Mode: "cluster"}), checkRole, checkFail, "a node of a Cluster"},

		{"half a Cluster", nodes, cluster(relay.Node{Addr: "b:1", Err: errors.New("away")}), checkRole, checkWarn, "1 of 2 nodes answer"},
		{"half a Cluster, connection", nodes, cluster(relay.Node{Addr: "b:1", Err: errors.New("away")}), checkConnection, checkWarn, "b:1: away"},
		{"a Cluster that failed", nodes, cluster(relay.Node{Addr: "b:1", Role: "master", Cluster: map[string]string{"cluster_state": "fail"}}), checkRole, checkFail, "b:1: the Cluster's state is fail"},
		{"slots that nobody serves", nodes, cluster(relay.Node{Addr: "b:1", Role: "master", Cluster: map[string]string{"cluster_state": "ok", "cluster_slots_ok": "16000"}}), checkRole, checkFail, "16000 of 16384"},
		{"a replica in a Cluster", nodes, cluster(relay.Node{Addr: "b:1", Role: "replica", Cluster: map[string]string{"cluster_state": "ok", "cluster_slots_ok": "16384"}}), checkRole, checkOK, "all 2 nodes answer"},

		{"Redis is ahead", "", node(skewed(time.Minute)), checkClock, checkWarn, "1m0s ahead"},
		{"Redis is behind", "", node(skewed(-time.Minute)), checkClock, checkWarn, "1m0s behind"},
		{"Redis is a little ahead", "", node(skewed(time.Second)), checkClock, checkOK, "differs by 1s"},
		{"Redis agrees", "", node(skewed(0)), checkClock, checkOK, "agrees"},
		{"Redis is too old to tell the time", "", node(relay.Node{}), checkClock, checkSkipped, "nothing to compare"},

		{"Redis is too old to tell rights", "", node(relay.Node{Version: "6.2.0"}), checkRights, checkSkipped, "from 7.0 on"},
		{"a command that was renamed", "", node(relay.Node{Rights: []relay.Right{{Need: relay.Need{Right: "+hset", For: "to move it"}, Unknown: true}}}), checkRights, checkFail, "Redis has no HSET"},
		{"a setting that is no number", "", node(relay.Node{}), checkLimits, checkOK, "fits"},
		{"a stream that cannot be asked for", "RELAY_STREAMS=on", func(p *patient) { p.streams = []streamView{{"match_updates", "", errors.New("away")}} }, checkReceivers, checkWarn, "away"},

		{"no folder at all", "", func(p *patient) { p.folder = "/data" }, checkDisk, checkFail, "no folder"},
		{"a disk that is nearly full", "", func(p *patient) { p.folderNow, _ = os.Stat("/"); p.free, p.writable = 1<<20, true }, checkDisk, checkFail, "1.0 MiB free"},
		{"a folder that cannot be written to", "", func(p *patient) { p.folderNow, _ = os.Stat("/"); p.free = 1 << 40 }, checkDisk, checkFail, "cannot be written"},
		{"nothing waits", "", func(p *patient) { p.stats = &outbox.Stats{} }, checkPending, checkOK, "nothing waits"},

		{"an unknown host", "", func(p *patient) { p.down = &net.DNSError{Err: "no such host"} }, checkConnection, checkFail, "no such host"},
		{"a port that speaks TLS", "", func(p *patient) { p.down, p.speaks = errors.New("EOF"), "tls" }, checkConnection, checkFail, "EOF"},
		{"Sentinels that differ", "", func(p *patient) {
			p.sentinels = []relay.Sentinel{{Addr: "s:1", Master: "a:1"}, {Addr: "s:2", Master: "b:1"}}
		}, checkConnection, checkWarn, "do not agree"},
		{"a Sentinel that knows no such master", "", func(p *patient) { p.sentinels = []relay.Sentinel{{Addr: "s:1"}} }, checkConnection, checkWarn, "knows no master"},
		{"a Sentinel that is away", "", func(p *patient) { p.sentinels = []relay.Sentinel{{Addr: "s:1", Err: errors.New("away")}} }, checkConnection, checkWarn, "Sentinel s:1: away"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := patientWith(t, tt.env)
			tt.with(p)
			c := check{}
			tt.judge(p, &c)
			require.Equal(t, tt.status, c.Status, c.Found)
			require.Contains(t, c.Found, tt.found)
			if c.Status == checkFail {
				require.NotEmpty(t, c.Mend)
			}
		})
	}
	require.Empty(t, hardLimit("normal 0 0 0"))
	require.Equal(t, "another process", holder(&outbox.LockedError{}))
	require.Equal(t, "process 7", holder(&outbox.LockedError{PID: 7}))
}

func TestTheDoctorOfAnEmbeddedRedis(t *testing.T) {
	embedded := miniredis.RunT(t)
	code, stdout, _ := call(t, t.Context(), func(a *app) {
		a.environ = []string{"REDIS_URL=redis://" + embedded.Addr(), "MATCHRELAY_DB=" + filepath.Join(t.TempDir(), "x.db")}
	}, "doctor")
	require.Equal(t, exitOK, code, stdout)
}

func TestTheDoctorsColours(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	var out bytes.Buffer
	a := newApp(nil, &out, nil)
	a.terminal = func(any) bool { return true }
	require.NoError(t, a.printChecks(newCheckReport([]check{
		{Name: "a", Status: checkOK}, {Name: "b", Status: checkWarn, mends: []string{"mend b"}}, {Name: "c", Status: checkFail}, {Name: "d", Status: checkSkipped},
	})))
	for _, want := range []string{"\x1b[32mok", "\x1b[33mwarn", "\x1b[31mfail", "\x1b[2mskipped", "  -> mend b", "1 ok, 1 warning, 1 failed, 1 skipped"} {
		require.Contains(t, out.String(), want)
	}
	require.Error(t, (&app{stdout: full{}, output: formatJSONL}).printChecks(newCheckReport([]check{{}})))
	require.Error(t, (&app{stdout: full{}, output: formatJSON}).printChecks(newCheckReport(nil)))
	require.NotContains(t, strings.Split(out.String(), "\n")[0], "->")
}

func TestTheDoctorIsInterruptedOrNotHeard(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	off := func(a *app) {
		a.environ = []string{"REDIS_PUBSUB_ENABLED=false", "MATCHRELAY_DB=" + filepath.Join(t.TempDir(), "x.db")}
	}
	code, stdout, stderr := call(t, ctx, off, "doctor")
	require.Equal(t, exitFailure, code)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "it was interrupted")
	code, _, stderr = call(t, t.Context(), func(a *app) { off(a); a.stdout = full{} }, "doctor")
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, "closed pipe")
}
