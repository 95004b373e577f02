package torture

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

// rig is everything that takes part.
type rig struct {
	t       *testing.T
	program string                    // the real one
	self    string                    // this test binary
	logs    string                    // folder of everything that is written beside the outbox; kept when the test fails
	disk    string                    // the small one, with the outbox
	began   atomic.Pointer[time.Time] // when the plan began; nil before

	pair      *pair
	tails     *tails
	network   *redistest.Proxy
	remote    *redistest.Proxy
	direct    *redistest.Subscriber // connected to the master itself: it must receive everything
	others    map[string]*redistest.Subscriber
	processes []*process
	processor *process
	veteran   *process
	relay     *process
	consumer  *process
	feed      *fogistest.Feed
	feedMu    sync.Mutex
	book      *book
	meters    *meters

	// pruning is held by those who rely on the outbox keeping what it has (shared), or make it old enough to be pruned.
	pruning sync.RWMutex
	clock   time.Duration // guarded by pruning: by how much the clock is off
	jumped  uint64        // guarded by pruning: the newest sequence when the clock last went forward

	late      atomic.Int64 // actions that were left out, for they were late
	compacted bool         // while everything was down; of the maintenance

	mu       sync.Mutex
	journal  []string // guarded by mu, like findings
	findings []string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	logs, err := os.MkdirTemp("", "torture-")
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	r := &rig{t: t, logs: logs, self: self, disk: smallDisk(t), program: buildProgram(t)}
	t.Cleanup(r.tell)
	r.pair, r.tails = startPair(t), newTails()
	r.crown(r.pair.master, func() {})
	r.network, r.remote = redistest.NewProxy(t, r.pair.master.Addr()), redistest.NewProxy(t, r.pair.master.Addr())
	r.subscribe()
	r.book = newBook(r)
	r.feed = fogistest.New(1, 6, time.Now())
	r.changeList()
	r.processor = newProcess(r, theProcessor)
	r.veteran, r.relay = newProcess(r, theVeteran, r.program, "relay"), newProcess(r, theRelay, r.program, "relay")
	r.consumer = newProcess(r, theConsumer, r.self, roleRead)
	r.meters = newMeters(r)
	return r
}

// subscribe starts the subscribers. The others connect to a server only when the direct one has, so that topics that wait for
// a subscriber wait for that one.
func (r *rig) subscribe() {
	opts := redistest.SubscriberOptions{Channels: []string{channels[updates], channels[statuses], channels[alerts]},
		Keep: redistest.KeepMessageID, Resolve: func() string { return *r.pair.addr.Load() }}
	r.direct = redistest.Subscribe(r.t, "", opts)
	r.direct.WaitSubscribed(1)
	after := func(addr func() string) func() string {
		return func() string {
			if r.direct.Connections() == r.direct.Disconnections() {
				return ""
			}
			return addr()
		}
	}
	r.others = map[string]*redistest.Subscriber{}
	opts.Resolve = after(r.remote.Addr)
	r.others[theRemote] = redistest.Subscribe(r.t, "", opts)
	opts.Resolve, opts.Reconnect, opts.BytesPerSecond = after(func() string { return *r.pair.addr.Load() }), 500*time.Millisecond, 400_000
	r.others[theFlaky] = redistest.Subscribe(r.t, "", opts)
}

func (r *rig) db() string   { return filepath.Join(r.disk, "outbox.db") }
func (r *rig) list() string { return filepath.Join(r.logs, "list.json") }

// env is the environment of all processes.
func (r *rig) env() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.logs, "GORACE=atexit_sleep_ms=0",
		dbEnv + "=" + r.db(), clockEnv + "=" + filepath.Join(r.logs, "clock"), folderEnv + "=" + r.logs,
		redisEnv + "=" + r.network.Addr(), remoteEnv + "=" + r.remote.Addr(), "REDIS_URL=redis://" + r.network.Addr(),
		"REDIS_CONNECTION_TIMEOUT=1", "REDIS_SOCKET_TIMEOUT=1", "REDIS_RETRY_DELAY=0.02", "REDIS_RETRY_MAX_DELAY=0.2",
		"REDIS_HEALTH_CHECK_INTERVAL=1", "RELAY_REJOIN_WAIT=" + rejoinWait.String(), "RELAY_STREAMS=on",
		fmt.Sprint("RELAY_STREAM_MAXLEN=", streamMax), "RELAY_MIN_RECEIVERS=match_updates=1,processing_status=1,system_alert=1",
		"OUTBOX_RETENTION=" + retention.String(), "OUTBOX_MAX_BYTES=64MiB", "SERVICE_INTERVAL=2"}
}

// changeList writes another match list for processors to find.
func (r *rig) changeList() {
	r.feedMu.Lock()
	defer r.feedMu.Unlock()
	r.feed.Apply(fogistest.NewReferee)
	draft := r.list() + ".draft"
	err := os.WriteFile(draft, r.feed.JSON(), 0o600)
	if err == nil {
		err = os.Rename(draft, r.list())
	}
	if err != nil {
		r.find("write a match list: %v", err)
	}
}
