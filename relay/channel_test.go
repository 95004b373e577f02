package relay_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

// operator is a connection that no fault locks out.
type operator struct {
	*redis.Conn
	r *rig
}

func (o operator) do(args ...any) {
	o.r.t.Helper()
	require.NoError(o.r.t, o.Do(context.Background(), args...).Err())
}

// command is a cause or a mend that takes one command.
func command(args ...any) func(o operator) {
	return func(o operator) { o.do(args...) }
}

// channelFaults are the faults of the channel that a running relay may meet, each with what operators get to know.
var channelFaults = []struct {
	name   string
	config []string
	state  relay.State
	says   string // in status and log: the mend
	alert  string // raised
	late   bool   // it comes after PUBLISH: what the call that meets it has published counts as delivered
	cause  func(o operator)
	mend   func(o operator)
}{
	{name: "OOM", state: relay.Blocked, says: "raise maxmemory", alert: "redis_full",
		cause: command("CONFIG", "SET", "maxmemory", "1"), mend: command("CONFIG", "SET", "maxmemory", "0")},
	{name: "MISCONF: a snapshot failed", config: []string{"save 3600 1000000", "enable-protected-configs yes"}, state: relay.Blocked,
		says: "free disk space there", alert: "redis_full",
		cause: func(o operator) {
			gone := filepath.Join(o.r.t.TempDir(), "gone")
			require.NoError(o.r.t, os.Mkdir(gone, 0o700))
			o.do("CONFIG", "SET", "dir", gone)
			require.NoError(o.r.t, os.Remove(gone))
			o.do("BGSAVE")
			o.waitInfo("persistence", "rdb_last_bgsave_status:err")
		},
		mend: func(o operator) {
			o.do("CONFIG", "SET", "dir", o.r.server.Dir())
			o.do("BGSAVE")
			o.waitInfo("persistence", "rdb_last_bgsave_status:ok")
		}},
	{name: "READONLY: a replica", state: relay.RedisDown, says: "point REDIS_URL to the master",
		cause: command("REPLICAOF", "127.0.0.1", "1"), mend: command("REPLICAOF", "NO", "ONE")},
	{name: "NOREPLICAS", state: relay.RedisDown, says: "min-replicas",
		cause: command("CONFIG", "SET", "min-replicas-to-write", "1"), mend: command("CONFIG", "SET", "min-replicas-to-write", "0")},
	{name: "BUSY: another script runs on", config: []string{"busy-reply-threshold 50"}, state: relay.RedisDown, says: "SCRIPT KILL",
		cause: func(o operator) {
			endless := o.r.server.Client()
			go endless.Eval(context.Background(), "while true do end", nil)
			eventually(o.r.t, "it keeps Redis busy", func() bool {
				err := o.Ping(context.Background()).Err()
				return err != nil && strings.HasPrefix(err.Error(), "BUSY")
			})
		},
		mend: command("SCRIPT", "KILL")},
	{name: "max clients", state: relay.RedisDown, says: "maxclients",
		cause: command("CONFIG", "SET", "maxclients", "2"), mend: command("CONFIG", "SET", "maxclients", "1000")},
	{name: "NOAUTH: a password that was set", state: relay.Blocked, says: "set REDIS_PASSWORD", alert: "redis_refused",
		cause: command("ACL", "SETUSER", "default", "resetpass", ">new"), mend: command("ACL", "SETUSER", "default", "nopass")},
	{name: "NOPERM: no right to publish", state: relay.Blocked, says: "+publish", alert: "redis_refused",
		cause: command("ACL", "SETUSER", "default", "-publish"), mend: command("ACL", "SETUSER", "default", "+publish")},
	{name: "NOPERM: no right to let marks expire", state: relay.Blocked, says: "+expire", alert: "redis_refused", late: true,
		cause: command("ACL", "SETUSER", "default", "-expire"), mend: command("ACL", "SETUSER", "default", "+expire")},
	{name: "NOPERM: no right to the channel", state: relay.Blocked, says: "&<channels>", alert: "redis_refused",
		cause: command("ACL", "SETUSER", "default", "resetchannels"), mend: command("ACL", "SETUSER", "default", "allchannels")},
	{name: "NOPERM: no right to the keys", state: relay.Blocked, says: "~matchrelay:*", alert: "redis_refused",
		cause: command("ACL", "SETUSER", "default", "resetkeys"), mend: command("ACL", "SETUSER", "default", "allkeys")},
	{name: "WRONGTYPE: the mark's name is taken", state: relay.Blocked, says: "rename or delete it", alert: "redis_refused",
		cause: func(o operator) { o.do("SET", o.r.markKey(), "something else") },
		mend:  func(o operator) { o.do("DEL", o.r.markKey()) }},
}

// waitInfo waits until a section of INFO has a line.
func (o operator) waitInfo(section, line string) {
	o.r.t.Helper()
	eventually(o.r.t, line, func() bool { return strings.Contains(o.Info(context.Background(), section).Val(), line) })
}

func TestFaultsOfTheChannelCostNoEventAnAttempt(t *testing.T) {
	t.Parallel()
	for _, fault := range channelFaults {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{Config: fault.config})
			r.server.Start()
			admin := r.server.Client()
			ctx := context.Background()
			// A user of its own for the test, so that it can mend what it breaks for everybody else.
			require.NoError(t, admin.Do(ctx, "ACL", "SETUSER", "admin", "on", ">admin", "~*", "&*", "+@all").Err())
			conn := operator{admin.Conn(), r}
			defer conn.Close()
			require.NoError(t, conn.AuthACL(ctx, "admin", "admin").Err())
			sub := r.subscribe(redistest.SubscriberOptions{})
			log := &logged{}
			opts := streaming()
			opts.Logger = log.logger()
			opts.RejoinWait = 500 * time.Millisecond // the fault may keep the subscriber away as well
			r.start(opts)
			r.add("news", 5)
			sub.WaitFor(5)
			r.waitDelivered("news")
			fault.cause(conn)
			if fault.name != "BUSY: another script runs on" { // which takes no other command than the mend
				// Rights hold for commands to come; a password, and a limit, for connections to come.
				conn.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
			}
			r.add("news", 5)
			eventually(t, "the fault shows in the health, with the mend", func() bool {
				h := r.relay.Health().Topics["news"]
				return h.State == fault.state && strings.Contains(h.LastError, fault.says)
			})
			eventually(t, "and in the log", func() bool { return log.count(fault.says) > 0 })
			if pending := r.topic("news").Pending; fault.late {
				require.LessOrEqual(t, pending, uint64(5))
			} else {
				require.Equal(t, uint64(5), pending)
			}
			r.relay.Pause() // until the subscriber is back, if the fault kept it away as well
			fault.mend(conn)
			r.waitSubscribers(conn, 1)
			r.relay.Resume()
			r.waitDelivered("news")
			eventually(t, "all is well", func() bool { return r.relay.Health().State == relay.Delivering })
			require.Zero(t, r.topic("news").Parked)
			eventually(t, "all events have arrived", func() bool { return len(r.received(sub)) >= 10 })
			r.requireComplete(sub, nil)
			r.requireStream(r.news())
			kinds := strings.Join(r.alertKinds(), " ")
			require.Contains(t, kinds, fault.alert)
			if fault.alert == "" {
				require.Empty(t, kinds)
			}
		})
	}
}

func TestARedisThatLoadsItsDataIsAnOutage(t *testing.T) {
	t.Parallel()
	// Loading takes 40 ms a key: a minute, unless it is hurried. Redis answers meanwhile.
	r := newRig(t, redistest.Options{Persistence: redistest.RDB, Config: []string{"key-load-delay 40000", "loading-process-events-interval-bytes 1024"}})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	log := &logged{}
	opts := streaming()
	opts.Logger = log.logger()
	r.start(opts)
	r.add("news", 5)
	sub.WaitFor(5)
	r.waitDelivered("news")
	fill := r.server.Client().Pipeline()
	for i := range 1500 {
		fill.Set(context.Background(), fmt.Sprint("key", i), strings.Repeat("x", 100), 0)
	}
	_, err := fill.Exec(context.Background())
	require.NoError(t, err)
	r.server.Shutdown()
	r.add("news", 5)
	loaded := make(chan struct{})
	go func() { defer close(loaded); r.server.Start() }()
	eventually(t, "it is told", func() bool {
		h := r.relay.Health().Topics["news"]
		return h.State == relay.RedisDown && strings.Contains(h.LastError, "LOADING")
	})
	r.do("CONFIG", "SET", "key-load-delay", "0")
	<-loaded
	sub.WaitSubscribed(2)
	r.waitDelivered("news")
	require.Equal(t, 1, log.count("cannot publish")/len(channels), "one line for each topic, whatever the outage is called at the moment")
	require.Zero(t, r.topic("news").Parked)
	r.requireStream(r.news())
}

func TestAPasswordThatIsChangedAndChangedBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	r.startTarget(streaming(), r.as("reset", "on", ">pw", "+@all", "~*", "&*"))
	r.add("news", 5)
	sub.WaitFor(5)
	r.do("ACL", "SETUSER", "relay", "resetpass", ">another")
	r.do("CLIENT", "KILL", "USER", "relay")
	r.add("news", 5)
	eventually(t, "it is told", func() bool {
		h := r.relay.Health().Topics["news"]
		return h.State == relay.Blocked && strings.Contains(h.LastError, "WRONGPASS") && strings.Contains(h.LastError, "correct REDIS_USERNAME and REDIS_PASSWORD")
	})
	r.do("ACL", "SETUSER", "relay", ">pw")
	r.waitDelivered("news")
	r.waitArrived(sub, r.appended)
	r.requireComplete(sub, nil)
	r.requireStream(r.news())
	require.Contains(t, r.alertKinds(), "redis_refused")
}

func TestTLSToAPlainPortAndBack(t *testing.T) {
	t.Parallel()
	keys := redistest.NewTLS(t, false)
	r := newRig(t, redistest.Options{TLS: keys})
	r.server.Start()
	encrypted := &tls.Config{ServerName: "localhost", RootCAs: keys.Pool}
	for _, c := range []struct {
		name, addr, says string
		tls              *tls.Config
	}{
		{"TLS to a plain port", r.server.Addr(), "must begin with redis://", encrypted},
		{"plain to a TLS port", keys.Addr(), "must begin with rediss://", nil},
	} {
		client := relay.NewClient(relay.ClientOptions{Addrs: []string{c.addr}, TLS: c.tls, DialTimeout: time.Second})
		r.startTarget(quick(), relay.NewRedis(client, time.Second)) // a plain port does not answer
		r.add("news", 1)
		eventually(t, c.name, func() bool {
			h := r.relay.Health()
			return h.State == relay.RedisDown && strings.Contains(h.LastError, c.says)
		})
		r.halt()
		require.NoError(t, client.Close())
	}
	require.Equal(t, uint64(2), r.topic("news").Pending)
	r.start(quick())
	r.waitDelivered("news")
}
