package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
)

func TestDoctorOfAClusterAsksEveryNode(t *testing.T) {
	bus := []string{port(redistest.New(t, redistest.Options{})), port(redistest.New(t, redistest.Options{}))}
	c := newClinic(t, redistest.Options{Config: []string{"cluster-enabled yes", "cluster-port " + bus[0]}})
	other := redistest.Start(t, redistest.Options{Persistence: redistest.AOF,
		Config: []string{"cluster-enabled yes", "cluster-port " + bus[1]}})
	c.expect("role", checkFail, "a node of a Cluster", "give several of its nodes")
	c.redis("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
	require.NoError(t, other.Client().Do(t.Context(), "CLUSTER", "ADDSLOTSRANGE", 8192, 16383).Err())
	require.NoError(t, other.Client().Do(t.Context(), "CLUSTER", "SET-CONFIG-EPOCH", 2).Err())
	c.redis("CLUSTER", "MEET", "127.0.0.1", port(other), bus[1])
	for _, s := range []*redistest.Server{c.server, other} {
		client := s.Client()
		require.Eventually(t, func() bool {
			info := client.ClusterInfo(t.Context()).Val()
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:2")
		}, redistest.Patience, 5*time.Millisecond)
	}
	// Each node counts its own subscribers.
	for _, s := range []*redistest.Server{c.server, other} {
		redistest.Subscribe(t, s.Addr(), redistest.SubscriberOptions{Channels: []string{"fogis:matches:updates"}}).WaitSubscribed(1)
	}
	url := "REDIS_URL=" + c.server.URL() + "," + other.URL()
	code, checks := c.examine(url)
	require.Equal(t, exitOK, code, checks)
	require.Contains(t, checks["role"].Found, "all 2 nodes answer")
	require.Contains(t, checks["receivers"].Found, "match_updates 2")
	require.Contains(t, checks["persistence"].Found, other.Addr()+": AOF")

	for _, client := range []*redistest.Server{c.server, other} {
		require.NoError(t, client.Client().Do(t.Context(), "ACL", "SETUSER", "relay", "on", ">pw", "~*", "&*", "+@all", "-cluster|info").Err())
	}
	relayURL := "REDIS_URL=redis://relay:pw@" + c.server.Addr() + "," + other.URL()
	c.expect("role", checkWarn, "cannot be seen without the right +cluster|info", "", relayURL)
	for _, s := range []*redistest.Server{c.server, other} {
		require.NoError(t, s.Client().Do(t.Context(), "ACL", "SETUSER", "relay", "-cluster").Err())
	}
	c.expect("connection", checkFail, "NOPERM", "ACL SETUSER relay +cluster|slots", relayURL)
}

func TestDoctorAsksTheSentinels(t *testing.T) {
	c := newClinic(t, redistest.Options{})
	folder := t.TempDir()
	file, own := filepath.Join(folder, "sentinel.conf"), port(redistest.New(t, redistest.Options{}))
	require.NoError(t, os.WriteFile(file, []byte("bind 127.0.0.1\nport "+own+"\ndir "+folder+
		"\nsentinel monitor fogis 127.0.0.1 "+port(c.server)+" 1\n"), 0o600))
	sentinel := exec.Command("redis-server", file, "--sentinel")
	require.NoError(t, sentinel.Start())
	t.Cleanup(func() {
		require.NoError(t, sentinel.Process.Kill())
		_ = sentinel.Wait() // it was killed
	})
	url := "REDIS_URL=redis://127.0.0.1:" + own
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+own)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, redistest.Patience, 5*time.Millisecond)
	c.expect("connection", checkOK, "the master is "+c.server.Addr(), "", url, "REDIS_SENTINEL_MASTER=fogis")
	c.expect("connection", checkFail, "knows no master named nobody", "correct REDIS_SENTINEL_MASTER", url, "REDIS_SENTINEL_MASTER=nobody")
}

func TestDoctorFindsThatAPortSpeaksTLS(t *testing.T) {
	keys := redistest.NewTLS(t, false)
	c := newClinic(t, redistest.Options{TLS: keys})
	c.expect("connection", checkFail, "outage", "begin REDIS_URL with rediss://", "REDIS_URL=redis://"+keys.Addr())
	c.expect("connection", checkFail, "certificate", "REDIS_TLS_CA", "REDIS_URL=rediss://"+keys.Addr())
	c.expect("connection", checkOK, "answers", "", "REDIS_URL=rediss://"+keys.Addr(), "REDIS_TLS_CA="+keys.Cert)
}

func TestDoctorRepeatsNoPassword(t *testing.T) {
	c := newClinic(t, redistest.Options{Config: []string{`rename-command AUTH ""`, `rename-command HELLO ""`}})
	c.env = append(c.env, "REDIS_USERNAME=relay", "REDIS_PASSWORD=hunter2")
	c.do("ingest", "-")
	c.expect("connection", checkFail, "unknown command 'auth'", "remove REDIS_PASSWORD")
	for _, f := range []format{formatTable, formatJSON, formatJSONL} {
		code, stdout, stderr := call(t, t.Context(), c.configure, "doctor", "-o", string(f), "--db", c.db)
		require.Equal(t, exitUnreachable, code)
		require.NotContains(t, stdout+stderr, "hunter2")
	}
}
