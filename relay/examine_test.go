package relay_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

var everything = relay.Question{Channels: []string{"test:news", "test:alerts"}, Origin: "o",
	Features: []relay.Feature{relay.Streams, relay.Replicas}}

// examinee makes a target that is closed with the test.
func examinee(t *testing.T, o relay.ClientOptions, timeout time.Duration) *relay.Redis {
	client := relay.NewClient(o)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return relay.NewRedis(client, timeout)
}

func TestAnExaminationFindsEverythingAndChangesNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	sub := redistest.Subscribe(t, server.Addr(), redistest.SubscriberOptions{Channels: []string{"test:news"}})
	sub.WaitSubscribed(1)
	before := time.Now()
	nodes, err := examinee(t, relay.ClientOptions{Addrs: []string{server.Addr()}}, socketTimeout).Examine(t.Context(), everything)
	require.NoError(t, err)
	require.Len(t, nodes, 1)
	n := nodes[0]
	require.NoError(t, n.Err)
	require.Empty(t, n.Unseen)
	require.Equal(t, server.Addr(), n.Addr)
	require.Equal(t, n.Info["redis_version"], n.Version)
	require.Equal(t, "standalone", n.Mode)
	require.Equal(t, "master", n.Role)
	require.Equal(t, map[string]int64{"test:news": 1, "test:alerts": 0}, n.Receivers)
	require.Equal(t, "536870912", n.Settings["proto-max-bulk-len"])
	require.Contains(t, n.Settings, "save")
	require.WithinRange(t, n.At, before, time.Now())
	require.Len(t, n.Rights, len(everything.Needs()))
	for _, r := range n.Rights {
		require.True(t, r.Permitted, r)
		require.False(t, r.Unknown, r)
	}
	client := server.Client()
	require.Zero(t, client.DBSize(t.Context()).Val())
	require.NotContains(t, client.Info(t.Context(), "commandstats").Val(), "cmdstat_publish")
	require.Empty(t, sub.Messages())
}

// rightsOf logs in as a user with the given rights and examines.
func rightsOf(t *testing.T, server *redistest.Server, rights ...any) relay.Node {
	t.Helper()
	require.NoError(t, server.Client().Do(t.Context(), append([]any{"ACL", "SETUSER", "relay", "reset", "on", ">pw"}, rights...)...).Err())
	nodes, err := examinee(t, relay.ClientOptions{Addrs: []string{server.Addr()}, Username: "relay", Password: "pw"}, socketTimeout).
		Examine(t.Context(), everything)
	require.NoError(t, err)
	return nodes[0]
}

func TestExactlyTheRightsThatAreMissingAreFound(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	all := func(without string) []any {
		list := []any{"-@all"}
		for _, n := range everything.Needs() {
			for _, right := range []string{n.Right, n.On} {
				if strings.HasPrefix(right, "~matchrelay:") {
					right = "~matchrelay:*"
				}
				if right != "" && right != without {
					list = append(list, right)
				}
			}
		}
		return list
	}
	missing := func(n relay.Node) (list []string) {
		for _, r := range n.Rights {
			if !r.Permitted {
				list = append(list, r.Right)
			}
		}
		return list
	}
	require.Empty(t, missing(rightsOf(t, server, all("")...)))
	for right, want := range map[string][]string{
		"~matchrelay:*":       {"+evalsha", "+evalsha", "+hmget", "+hmget", "+hset", "+hset", "+expire", "+expire"},
		"~{test:news}:stream": {"+xadd", "+exists", "+xrevrange", "+xlen", "+xinfo|groups", "+xpending", "+xtrim", "+type"},
		"&test:alerts":        {"+publish"},
		"+publish":            {"+publish", "+publish"},
		"+wait":               {"+wait"},
		"+info":               {"+info"},
		"+config|get":         {"+config|get"},
		"+client|list":        {"+client|list"},
		"+pubsub|numsub":      {"+pubsub|numsub"},
		"+hello":              nil, // Redis lets everybody
	} {
		n := rightsOf(t, server, all(right)...)
		require.ElementsMatch(t, want, missing(n), right)
		for unseen, err := range n.Unseen {
			require.Equal(t, right, unseen)
			require.True(t, relay.Forbidden(err))
		}
	}
	for _, right := range []string{"+script|load", "+evalsha"} {
		n := rightsOf(t, server, all(right)...)
		require.Nil(t, n.Rights, right)
		require.True(t, relay.Forbidden(n.Unseen[right]), right)
	}
}

func TestACommandThatRedisHasNotIsUnknown(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{Config: []string{`rename-command EXPIRE ""`, `rename-command CONFIG ""`}})
	nodes, err := examinee(t, relay.ClientOptions{Addrs: []string{server.Addr()}}, socketTimeout).Examine(t.Context(), everything)
	require.NoError(t, err)
	for _, r := range nodes[0].Rights {
		require.Equal(t, r.Right == "+expire" || r.Right == "+config|get", r.Unknown, r)
	}
	require.Contains(t, nodes[0].Unseen, "+config|get")
	require.Empty(t, nodes[0].Settings)
}

func TestARedisThatCannotTellRights(t *testing.T) {
	t.Parallel()
	embedded := miniredis.RunT(t)
	nodes, err := examinee(t, relay.ClientOptions{Addrs: []string{embedded.Addr()}}, socketTimeout).Examine(t.Context(), everything)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	require.Nil(t, nodes[0].Rights)
}

func TestWhyRedisCannotBeExamined(t *testing.T) {
	t.Parallel()
	locked := redistest.Start(t, redistest.Options{Config: []string{"requirepass secret"}})
	down := redistest.New(t, redistest.Options{})
	frozen := redistest.Start(t, redistest.Options{})
	frozen.Freeze()
	const short = time.Second // where no answer comes
	for _, c := range []struct {
		name    string
		o       relay.ClientOptions
		timeout time.Duration
		class   relay.Class
		mend    string
	}{
		{"a wrong password", relay.ClientOptions{Addrs: []string{locked.Addr()}, Password: "guess"}, socketTimeout, relay.Denied, "correct REDIS_USERNAME"},
		{"no password", relay.ClientOptions{Addrs: []string{locked.Addr()}}, socketTimeout, relay.Denied, "set REDIS_PASSWORD"},
		{"nobody listens", relay.ClientOptions{Addrs: []string{down.Addr()}}, socketTimeout, relay.Outage, ""},
		{"nobody listens in the whole Cluster", relay.ClientOptions{Addrs: []string{down.Addr(), down.Addr()}}, socketTimeout, relay.Outage, ""},
		{"frozen", relay.ClientOptions{Addrs: []string{frozen.Addr()}}, short, relay.Outage, ""},
		{"TLS to a plain port", relay.ClientOptions{Addrs: []string{locked.Addr()}, TLS: &tls.Config{ServerName: "localhost"}}, short, relay.Outage, ""},
	} {
		r := examinee(t, c.o, c.timeout)
		_, err := r.Examine(t.Context(), everything)
		require.Error(t, err, c.name)
		class, mend := relay.Explain(err)
		require.Equal(t, c.class, class, "%s: %v", c.name, err)
		require.Contains(t, mend, c.mend, c.name)
		_, err = r.Mark(t.Context(), "test:news", "o")
		require.ErrorContains(t, err, "read the high-water mark of test:news", c.name)
	}
}

func TestAReplicaSaysSo(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t, redistest.Options{})
	_, port, err := net.SplitHostPort(master.Addr())
	require.NoError(t, err)
	replica := redistest.Start(t, redistest.Options{Config: []string{"replicaof 127.0.0.1 " + port}})
	client := replica.Client()
	eventually(t, "the replica is up to date", func() bool {
		return strings.Contains(client.Info(t.Context(), "replication").Val(), "master_link_status:up")
	})
	nodes, err := examinee(t, relay.ClientOptions{Addrs: []string{replica.Addr()}}, socketTimeout).Examine(t.Context(), everything)
	require.NoError(t, err)
	require.Equal(t, "replica", nodes[0].Role)
	require.Equal(t, port, nodes[0].Info["master_port"])
}

func TestMarksAndStreamTypes(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	r := examinee(t, relay.ClientOptions{Addrs: []string{server.Addr()}}, socketTimeout)
	ctx, client := t.Context(), server.Client()
	mark, err := r.Mark(ctx, "test:news", "o")
	require.NoError(t, err)
	require.Zero(t, mark)
	require.NoError(t, r.Load(ctx))
	_, err = r.Publish(ctx, relay.Batch{Channel: "test:news", Origin: "o", Events: []outbox.Entry{{Sequence: 7, MessageID: "m7", Payload: []byte("{}")}}})
	require.NoError(t, err)
	mark, err = r.Mark(ctx, "test:news", "o")
	require.NoError(t, err)
	require.Equal(t, outbox.Mark{Sequence: 7, MessageID: "m7"}, mark)
	given, there, err := r.StreamMark(ctx, "test:news", "o")
	require.NoError(t, err)
	require.Zero(t, given, "it was published, and not added to a stream")
	require.False(t, there)
	require.NoError(t, client.HSet(ctx, "matchrelay:{test:news}:hwm:o", "stream_seq", "7", "stream_id", "m7").Err())
	require.NoError(t, client.XAdd(ctx, &redis.XAddArgs{Stream: "{test:news}:stream", Values: []string{"f", "v"}}).Err())
	given, there, err = r.StreamMark(ctx, "test:news", "o")
	require.NoError(t, err)
	require.Equal(t, outbox.Mark{Sequence: 7, MessageID: "m7"}, given)
	require.True(t, there)
	require.NoError(t, client.Del(ctx, "{test:news}:stream").Err())
	require.NoError(t, client.HSet(ctx, "matchrelay:{test:news}:hwm:o", "seq", "seven").Err())
	_, err = r.Mark(ctx, "test:news", "o")
	require.ErrorContains(t, err, "a number that is none")

	for want, command := range map[string][]any{
		"none":   {"DEL", "{test:news}:stream"},
		"string": {"SET", "{test:news}:stream", "x"},
		"stream": {"XADD", "{test:alerts}:stream", "*", "f", "v"},
	} {
		require.NoError(t, client.Do(ctx, command...).Err())
		kind, err := r.StreamType(ctx, strings.TrimSuffix(command[1].(string)[1:], "}:stream"))
		require.NoError(t, err)
		require.Equal(t, want, kind)
	}
}

// clusterOf starts a Cluster of masters that share the slots.
func clusterOf(t *testing.T, n int) (servers []*redistest.Server) {
	ctx := t.Context()
	firstBus := ""
	for i := range n {
		_, bus, err := net.SplitHostPort(redistest.New(t, redistest.Options{}).Addr())
		require.NoError(t, err)
		s := redistest.Start(t, redistest.Options{Config: []string{"cluster-enabled yes", "cluster-port " + bus, "cluster-node-timeout 30000"}})
		servers = append(servers, s)
		require.NoError(t, s.Client().Do(ctx, "CLUSTER", "ADDSLOTSRANGE", i*16384/n, (i+1)*16384/n-1).Err())
		require.NoError(t, s.Client().Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err())
		if i == 0 {
			firstBus = bus
			continue
		}
		host, port, err := net.SplitHostPort(servers[0].Addr())
		require.NoError(t, err)
		require.NoError(t, s.Client().Do(ctx, "CLUSTER", "MEET", host, port, firstBus).Err())
	}
	for _, s := range servers {
		client := s.Client()
		eventually(t, "the Cluster is up", func() bool {
			return strings.Contains(client.ClusterInfo(ctx).Val(), "cluster_state:ok") &&
				strings.Contains(client.ClusterInfo(ctx).Val(), fmt.Sprintf("cluster_known_nodes:%d", n))
		})
	}
	return servers
}

func TestEachNodeOfAClusterIsAsked(t *testing.T) {
	t.Parallel()
	servers := clusterOf(t, 2)
	o := relay.ClientOptions{Addrs: []string{servers[0].Addr(), servers[1].Addr()}, DialTimeout: socketTimeout}
	nodes, err := examinee(t, o, socketTimeout).Examine(t.Context(), everything)
	require.NoError(t, err)
	require.Len(t, nodes, 2)
	for _, n := range nodes {
		require.NoError(t, n.Err)
		require.Equal(t, "cluster", n.Mode)
		require.Equal(t, "ok", n.Cluster["cluster_state"])
		for _, r := range n.Rights {
			require.True(t, r.Permitted, r)
		}
		require.Greater(t, len(n.Rights), len(everything.Needs()))
	}

	servers[1].Kill()
	nodes, err = examinee(t, o, socketTimeout).Examine(t.Context(), everything)
	require.NoError(t, err)
	require.Len(t, nodes, 2)
	for _, n := range nodes {
		require.Equal(t, n.Addr == servers[1].Addr(), n.Err != nil)
	}

	// Without the right to find the nodes nothing else can be asked.
	require.NoError(t, servers[0].Client().Do(t.Context(), "ACL", "SETUSER", "relay", "on", ">pw", "~*", "&*", "+@all", "-cluster").Err())
	o.Username, o.Password = "relay", "pw"
	_, err = examinee(t, o, socketTimeout).Examine(t.Context(), everything)
	require.Error(t, err)
}

func TestSentinelsAreAskedForTheMaster(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t, redistest.Options{})
	addr := startSentinel(t, master)
	down := redistest.New(t, redistest.Options{})
	o := relay.ClientOptions{Addrs: []string{addr, down.Addr()}, SentinelMaster: "fogis", DialTimeout: sentinelTimeout}
	eventually(t, "the Sentinel knows the master", func() bool {
		return relay.Sentinels(context.Background(), o, socketTimeout)[0].Master == master.Addr()
	})
	found := relay.Sentinels(t.Context(), o, socketTimeout)
	require.Equal(t, relay.Sentinel{Addr: addr, Master: master.Addr()}, found[0])
	require.Error(t, found[1].Err)

	o.Addrs = o.Addrs[:1]
	nodes, err := examinee(t, o, socketTimeout).Examine(t.Context(), everything)
	require.NoError(t, err)
	require.Equal(t, "master", nodes[0].Role)

	o.SentinelMaster = "nobody"
	require.Equal(t, []relay.Sentinel{{Addr: addr}}, relay.Sentinels(t.Context(), o, socketTimeout))
	_, err = examinee(t, o, socketTimeout).Examine(t.Context(), everything)
	require.Error(t, err)
}

// sentinelTimeout leaves a Sentinel as long for an answer as Redis has: an eighth of the time that a connection may take.
const sentinelTimeout = 8 * socketTimeout

// startSentinel runs one that watches the master "fogis".
func startSentinel(t *testing.T, master *redistest.Server) (addr string) {
	host, port, err := net.SplitHostPort(master.Addr())
	require.NoError(t, err)
	_, own, err := net.SplitHostPort(redistest.New(t, redistest.Options{}).Addr())
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "sentinel.conf")
	require.NoError(t, os.WriteFile(file, []byte("bind 127.0.0.1\nport "+own+"\ndir "+filepath.Dir(file)+"\nsentinel monitor fogis "+host+" "+port+" 1\n"), 0o600))
	process := exec.Command("redis-server", file, "--sentinel")
	require.NoError(t, process.Start())
	t.Cleanup(func() {
		require.NoError(t, process.Process.Kill())
		_ = process.Wait() // it was killed
	})
	return net.JoinHostPort("127.0.0.1", own)
}

func TestOnlyClientsOfNewClientAreExamined(t *testing.T) {
	t.Parallel()
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	_, err := relay.NewRedis(ring, socketTimeout).Examine(context.Background(), relay.Question{})
	require.ErrorContains(t, err, "expected a client of NewClient")
}
