package integration_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay/control"
	"github.com/PitchConnect/matchrelay/schema"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

// integration is a way to use matchrelay in a processor: step does the processor's work once, with the n-th list, each of
// which has a change, and says how many events are to follow from it. The examples of package changes tell of each.
type integration struct {
	name   string
	ownDB  bool // the outbox is in a database of the processor's own
	step   func(p *integrated, list []schema.Match, n int) (events int, err error)
	finish func(p *integrated) (events int, err error)
}

var integrations = []integration{
	{name: "automatic", step: func(p *integrated, list []schema.Match, _ int) (int, error) {
		recorder, err := changes.NewRecorder(p.box, changes.Options{})
		if err != nil {
			return 0, err
		}
		_, err = recorder.Cycle(context.Background(), func(context.Context) ([]schema.Match, error) { return list, nil })
		return 3, err // started, what changed, completed
	}},
	{name: "manual", ownDB: true, step: func(p *integrated, list []schema.Match, n int) (int, error) {
		recorder, err := changes.NewRecorder(p.box, changes.Options{})
		if err != nil {
			return 0, err
		}
		var beside sync.WaitGroup
		var ownErr error
		beside.Go(func() { // a transaction of the database's, while the outbox has one
			ownErr = p.db.Update(func(tx *bolt.Tx) error {
				if err := putStep(tx, "statuses", n); err != nil {
					return err
				}
				_, err := p.box.Append(tx, newEvent(statuses, fmt.Sprint("step ", n)))
				return err
			})
		})
		err = p.box.Update(context.Background(), func(tx *bolt.Tx) error {
			if err := putStep(tx, "lists", n); err != nil {
				return err
			}
			_, err := recorder.RecordTx(tx, list, changes.Metadata{})
			return err
		})
		beside.Wait()
		if err == nil {
			err = ownErr
		}
		return 2, err
	}, finish: func(p *integrated) (int, error) {
		return 0, p.db.View(func(tx *bolt.Tx) error {
			for _, bucket := range []string{"statuses", "lists"} {
				if got, want := tx.Bucket([]byte(bucket)).Stats().KeyN, int(p.steps.Load()); got != want {
					return fmt.Errorf("%s has %d steps, not %d", bucket, got, want)
				}
			}
			return nil
		})
	}},
	{name: "selective", step: func(p *integrated, list []schema.Match, n int) (int, error) {
		enabled := n%3 != 0 // it is switched off and on all the time
		settings, err := config.Load(config.Options{Environ: []string{fmt.Sprint("REDIS_PUBSUB_ENABLED=", enabled)}})
		if err != nil {
			return 0, err
		}
		recorder, err := changes.NewRecorder(p.box, changes.Options{EventsOff: !settings.Redis.Enabled})
		if err != nil {
			return 0, err
		}
		events := 0
		if enabled {
			events = 1
		}
		_, err = recorder.Record(context.Background(), list, changes.Metadata{})
		return events, err
	}, finish: func(p *integrated) (int, error) {
		recorder, err := changes.NewRecorder(p.box, changes.Options{})
		if err != nil {
			return 0, err
		}
		_, err = recorder.Resync(context.Background(), changes.Operator{Actor: "test", Reason: "events were off"})
		return 1, err
	}},
}

func putStep(tx *bolt.Tx, bucket string, n int) error {
	b, err := tx.CreateBucketIfNotExists([]byte(bucket))
	if err != nil {
		return err
	}
	return b.Put(binary.BigEndian.AppendUint64(nil, uint64(n)), []byte("done"))
}

// integrated is a processor, with a relay as its goroutine or as a program beside it.
type integrated struct {
	integration
	t      *testing.T
	server *redistest.Server
	path   string
	apart  bool // the relay is a program of its own
	feed   *fogistest.Feed
	steps  atomic.Int64
	events int // that have to be in the log

	box  *outbox.Outbox
	db   *bolt.DB // nil unless ownDB
	stop func()   // the relay, or serving the socket
}

func (p *integrated) open() {
	p.t.Helper()
	var err error
	if p.ownDB {
		p.db, err = control.OpenDB(p.t.Context(), p.path, "", &bolt.Options{Timeout: redistest.Patience})
		require.NoError(p.t, err)
		p.box, err = outbox.New(p.db, outbox.Options{})
	} else {
		p.box, err = control.Open(p.t.Context(), p.path, "", outbox.Options{LockTimeout: redistest.Patience})
	}
	require.NoError(p.t, err)
	if p.apart {
		p.stop = serve(p.t, control.Options{Outbox: p.box})
	} else {
		_, p.stop = startRelay(p.t, p.box, p.server.Addr(), relayOptions())
	}
}

func (p *integrated) close() {
	p.t.Helper()
	p.stop()
	require.NoError(p.t, p.box.Close())
	if p.ownDB {
		require.NoError(p.t, p.db.Close())
	}
}

// work has the processor make steps for as long as something is done to the Redis.
func (p *integrated) work(fault func()) {
	p.t.Helper()
	over := make(chan struct{})
	var working sync.WaitGroup
	working.Go(func() {
		for {
			p.feed.Apply(fogistest.NewKickOff)
			list, err := schema.ParseMatches(p.feed.JSON())
			if err == nil {
				var events int
				events, err = p.step(p, list, int(p.steps.Load()))
				p.events += events
			}
			if err != nil {
				p.t.Error(err)
				return
			}
			p.steps.Add(1)
			select {
			case <-over:
				return
			case <-time.After(pace):
			}
		}
	})
	defer working.Wait()
	defer close(over)
	fault()
}

// more waits for some steps.
func (p *integrated) more() {
	p.t.Helper()
	until := p.steps.Load() + 20
	eventually(p.t, "the processor goes on", func() bool { return p.steps.Load() >= until })
}

func TestEveryWayToIntegrateDeliversEachEventOnceThroughADeathOfRedis(t *testing.T) {
	t.Parallel()
	for _, way := range integrations {
		for _, apart := range []bool{false, true} {
			name := way.name + ", relay as a goroutine"
			if apart {
				name = way.name + ", relay as a program of its own"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				server := redistest.Start(t, redistest.Options{Persistence: redistest.AOF})
				sub := subscribe(t, server, 0)
				p := &integrated{integration: way, t: t, server: server, path: filepath.Join(shortFolder(t), "test.db"),
					apart: apart, feed: fogistest.New(4, 3, time.Now())}
				p.open()
				var beside *separate
				if apart {
					beside = startSeparate(t, separateEnv(p.path, server))
				}

				t.Log("Redis is killed while events are on their way")
				var given []redistest.Event
				var tail tails
				p.work(func() {
					waitSafe(t, p.box, updates)
					tail = tailsOf(t, p.box)
					server.Kill()
					given = logged(t, p.box)
					p.more()
				})
				t.Log("the processor is restarted while it is away")
				p.close()
				p.open()
				p.work(func() {
					p.more()
					server.Start()
					arrived := sub.Count()
					sub.WaitFor(arrived + 20)
				})
				if p.finish != nil {
					events, err := p.finish(p)
					require.NoError(t, err)
					p.events += events
				}

				waitEmpty(t, p.box)
				appended := logged(t, p.box)
				require.Equal(t, p.events, len(appended), "every step has its events in the log, and nothing else is there")
				eventually(t, "every event has arrived", func() bool { return len(distinct(history(sub))) >= len(appended) })
				require.Empty(t, redistest.Check(appended, history(sub), tail.mayRepeat(t, p.box, given)))
				requireSound(t, p.box)
				p.close()
				if apart {
					beside.end()
				}
			})
		}
	}
}
