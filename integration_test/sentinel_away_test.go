package integration_test

import (
	"context"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestASentinelThatDiesWithTheMasterBesideItIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	g := startGroup(t)
	client := g.client()
	client.DialTimeout = 16 * time.Second // one Sentinel must not use it up
	l := startLoad(t, client, relayOptions(), map[string]*redistest.Subscriber{"prompt": follow(t, g.Master, 0)})
	require.NoError(t, commitStep(l.box, nil))
	waitEmpty(t, l.box)
	var given []redistest.Event
	var tail tails
	l.during(5*pace, func() {
		l.waitSafe()
		tail = tailsOf(t, l.box)
		g.asked(l.t).Freeze()
		g.master.Freeze()
		given = l.waitDown()
		promoted := g.waitPromoted()
		at := time.Now()
		l.subs["prompt"].Cut()
		l.waitDelivering()
		t.Logf("delivering again after %v", time.Since(at))
		require.Less(t, time.Since(at), 4*client.DialTimeout, "without a limit it takes six times as long as a connection may")
		require.True(t, promoted.IsMaster())
	})
	l.requireWhole(g.waitPromoted().Client(), tail.mayRepeat(t, l.box, given))
}

// asked is the Sentinel that the relay listens to.
func (g *group) asked(t *testing.T) *redistest.Server {
	t.Helper()
	var found *redistest.Server
	eventually(t, "the relay listens to a Sentinel", func() bool {
		for _, s := range g.Servers {
			if list, err := s.Client().Do(context.Background(), "CLIENT", "LIST", "TYPE", "pubsub").Text(); err == nil && list != "" {
				found = s
			}
		}
		return found != nil
	})
	return found
}

func TestTheRelayListensToASentinelOverOneConnection(t *testing.T) {
	t.Parallel()
	g := startGroup(t)
	startRelayAs(t, openBox(t, filepath.Join(t.TempDir(), "outbox.db")), g.client(), relayOptions())
	asked := g.asked(t).Client()
	eventually(t, "a subscription that is older than any time-out", func() bool {
		list, err := asked.Do(context.Background(), "CLIENT", "LIST", "TYPE", "pubsub").Text()
		require.NoError(t, err)
		_, age, _ := strings.Cut(list, " age=")
		age, _, _ = strings.Cut(age, " ")
		seconds, _ := strconv.Atoi(age)
		return time.Duration(seconds)*time.Second > 2*callTimeout
	})
}

func TestAFrozenSentinelKeepsNoRelayFromStarting(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t, redistest.Options{})
	sentinels := redistest.StartSentinels(t, master, 3)
	for _, s := range sentinels.Servers[:2] {
		s.Freeze()
	}
	const patient = 32 * time.Second // a connection time-out; one question to a Sentinel may take an eighth of it
	l := startLoad(t, relay.ClientOptions{Addrs: sentinels.Addrs(), SentinelMaster: redistest.MasterName, DialTimeout: patient}, relayOptions(),
		map[string]*redistest.Subscriber{"": subscribe(t, master, 0)})
	require.NoError(t, commitStep(l.box, nil))
	began := time.Now()
	l.requireWhole(master.Client(), nil)
	t.Logf("delivered after %v", time.Since(began))
	require.Less(t, time.Since(began), patient)
}

// wrongs are what is wrong with how the relay asks the Sentinels, and how it is mended. The Sentinels have a login, and the master has none.
var wrongs = map[string]struct {
	options func(o *relay.ClientOptions)
	state   relay.State
	mend    string
	repair  func(s *redistest.Sentinels) error
}{
	"none answers": {
		func(*relay.ClientOptions) {}, relay.RedisDown, "check that the Sentinels run, and their addresses in REDIS_URL",
		func(s *redistest.Sentinels) error { s.Servers[0].Thaw(); return nil },
	},
	"they know no master of that name": {
		func(o *relay.ClientOptions) { o.SentinelMaster = "other" }, relay.Blocked, "correct REDIS_SENTINEL_MASTER",
		func(s *redistest.Sentinels) error {
			host, port, _ := net.SplitHostPort(s.Master())
			return s.Servers[0].Client().Do(context.Background(), "SENTINEL", "MONITOR", "other", host, port, 1).Err()
		},
	},
	"they have another password": {
		func(o *relay.ClientOptions) { o.SentinelUsername, o.SentinelPassword = "relay", "secret" }, relay.Blocked,
		"correct the Sentinels' login, which is the one in REDIS_URL",
		func(s *redistest.Sentinels) error {
			return s.Servers[0].Client().Do(context.Background(), "ACL", "SETUSER", "relay", "on", ">secret", "&*",
				"+sentinel", "+subscribe", "+ping", "+hello").Err()
		},
	},
	"they let their user do too little": {
		func(o *relay.ClientOptions) { o.SentinelUsername, o.SentinelPassword = "little", "secret" }, relay.Blocked,
		"let the Sentinels' user run sentinel, subscribe and ping",
		func(s *redistest.Sentinels) error {
			return s.Servers[0].Client().Do(context.Background(), "ACL", "SETUSER", "little", "&*", "+sentinel", "+subscribe", "+ping").Err()
		},
	},
	"it is Redis itself": {
		func(o *relay.ClientOptions) { o.Addrs = nil }, relay.Blocked, "REDIS_URL names no Sentinels", nil,
	},
}

func TestWhatIsWrongWithTheSentinelsIsNamedAndMended(t *testing.T) {
	t.Parallel()
	for name, wrong := range wrongs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			master := redistest.Start(t, redistest.Options{})
			sentinels := redistest.StartSentinels(t, master, 1)
			require.NoError(t, sentinels.Servers[0].Client().Do(t.Context(), "ACL", "SETUSER", "little", "on", ">secret", "+hello").Err())
			o := relay.ClientOptions{Addrs: sentinels.Addrs(), SentinelMaster: redistest.MasterName}
			if wrong.options(&o); o.Addrs == nil {
				o.Addrs = []string{master.Addr()}
			}
			if wrong.state == relay.RedisDown {
				sentinels.Servers[0].Freeze()
			}
			l := startLoad(t, o, relayOptions(), map[string]*redistest.Subscriber{"": subscribe(t, master, 0)})
			require.NoError(t, commitStep(l.box, nil))
			eventually(t, "it is told", func() bool {
				h := l.relay.Health()
				require.NotContains(t, h.LastError, "secret")
				return h.State == wrong.state && strings.Contains(h.LastError, wrong.mend)
			})
			if wrong.repair == nil {
				return
			}
			require.NoError(t, wrong.repair(sentinels))
			l.requireWhole(master.Client(), nil)
		})
	}
}
