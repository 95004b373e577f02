package integration_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
)

// The test binary runs itself again as a consumer that is killed.
const (
	consumerEnv  = "MATCHRELAY_TEST_CONSUMER" // where its state is: in a database, or in files
	consumerDies = "MATCHRELAY_TEST_DIES"     // at which of its saves it dies, 0 for none
	inDatabase   = "database"
	inFiles      = "files"
	nowAndThen   = "files, saved now and then"
)

func init() {
	if mode := os.Getenv(consumerEnv); mode != "" {
		relay.QuietClientLog()
		dies, _ := strconv.Atoi(os.Getenv(consumerDies))
		err := consumeTo(mode, os.Getenv(workerDB), os.Getenv(workerRedis), dies, 0)
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// consumeTo consumes until the sequence last was handled.
func consumeTo(mode, path, addr string, dies int, last uint64) error {
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{addr}})
	defer client.Close()
	ctx, stop := context.WithTimeout(context.Background(), redistest.Patience)
	defer stop()
	opts := relay.ConsumeOptions{Channel: channels[updates], RetryDelay: 10 * time.Millisecond}
	var handle func(e relay.StreamEvent) error
	if mode != inDatabase {
		opts.Store = relay.PositionFile(path + ".position")
		if mode == inFiles {
			opts.SaveEvery = 1
		}
		handle = func(e relay.StreamEvent) error { return appendLine(path, e) }
	} else {
		db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: redistest.Patience})
		if err != nil {
			return err
		}
		defer db.Close()
		opts.Store = database{db}
		handle = database{db}.handle
	}
	opts.Store = &mortal{opts.Store, dies}
	first := true
	opts.Handle = func(_ context.Context, e relay.StreamEvent) error {
		err := handle(e)
		if first {
			fmt.Println("working")
			first = false
		}
		if e.Sequence == last {
			stop()
		}
		return err
	}
	return relay.Consume(ctx, client, opts)
}

// mortal is a store that kills the process instead of saving.
type mortal struct {
	relay.Store
	dies int
}

func (m *mortal) Save(ctx context.Context, p relay.Position) error {
	if m.dies--; m.dies == 0 {
		suicide()
	}
	return m.Store.Save(ctx, p)
}

// database keeps the position and the state, a list of message IDs, in one file.
type database struct{ db *bolt.DB }

var positionKey = []byte("position")

func (d database) Load(context.Context) (p relay.Position, err error) {
	err = d.db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(positionKey)
		if b == nil {
			return nil
		}
		return json.Unmarshal(b.Get(positionKey), &p)
	})
	return p, err
}

// Save has nothing left to do.
func (database) Save(context.Context, relay.Position) error { return nil }

func (d database) handle(e relay.StreamEvent) error {
	return d.db.Update(func(tx *bolt.Tx) error {
		position, err := json.Marshal(e.Position)
		if err != nil {
			return err
		}
		positions, err := tx.CreateBucketIfNotExists(positionKey)
		if err != nil {
			return err
		}
		state, err := tx.CreateBucketIfNotExists(stateBucket)
		if err != nil {
			return err
		}
		n, err := state.NextSequence()
		return errors.Join(err, state.Put(binary.BigEndian.AppendUint64(nil, n), []byte(e.MessageID)), positions.Put(positionKey, position))
	})
}

// appendLine is what a handler does that knows no transactions.
func appendLine(path string, e relay.StreamEvent) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(e.MessageID + "\n")
	return errors.Join(err, f.Close())
}

// handled reads the message IDs, in the order in which they were handled.
func handled(t *testing.T, mode, path string) (ids []string) {
	t.Helper()
	if mode != inDatabase {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		return strings.Fields(string(b))
	}
	db, err := bolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(stateBucket).ForEach(func(_, id []byte) error {
			ids = append(ids, string(id))
			return nil
		})
	}))
	return ids
}

// produce adds events, as a relay does, until ctx ends and then one more, and returns their message IDs.
func produce(ctx context.Context, client *redis.Client) (ids []string, err error) {
	origin := uuid.NewString()
	pace := time.Tick(3 * time.Millisecond)
	for more := true; more; <-pace {
		more = ctx.Err() == nil
		id := uuid.NewString()
		if err := client.XAdd(context.Background(), &redis.XAddArgs{Stream: relay.StreamKey(channels[updates]), Values: []any{
			"specversion", "1.0", "id", id, "source", "test", "type", updates, "time", time.Now().UTC().Format(time.RFC3339Nano),
			"subject", channels[updates], "sequence", len(ids) + 1, "origin", origin, "data", "{}"}}).Err(); err != nil {
			return ids, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

const kills = 16 // half of them at random, half between what the handler does and the save

func TestConsume_ByAProcessThatIsKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{inDatabase, inFiles, nowAndThen} {
		t.Run("state and position "+mode, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, redistest.Options{})
			path := filepath.Join(t.TempDir(), "state")
			ctx, stop := context.WithCancel(context.Background())
			defer stop()
			var want []string
			produced := make(chan error, 1)
			client := server.Client()
			go func() {
				var err error
				want, err = produce(ctx, client)
				produced <- err
			}()
			seed := time.Now().UnixNano()
			t.Log("seed ", seed)
			random := rand.New(rand.NewPCG(uint64(seed), 0))
			for kill := range kills {
				dies := 0
				if kill%2 == 1 { // between what the handler does and the save
					dies = 2 + random.IntN(20)
				}
				w := startConsumer(t, mode, path, server.Addr(), dies)
				if dies > 0 {
					w.waitKilled()
					continue
				}
				w.waitWorking()
				<-time.After(time.Duration(random.IntN(50)) * time.Millisecond)
				w.kill()
			}
			stop()
			require.NoError(t, <-produced)
			require.NoError(t, consumeTo(mode, path, server.Addr(), 0, uint64(len(want))))

			got := handled(t, mode, path)
			if mode == inDatabase {
				require.Equal(t, want, got, "each event took effect once, in order")
				return
			}
			if mode == nowAndThen {
				requireRepeats(t, want, got)
				return
			}
			once, repeats := got[:1:1], 0
			for _, id := range got[1:] {
				if id == once[len(once)-1] { // the one at which it was killed
					repeats++
					continue
				}
				once = append(once, id)
			}
			require.Equal(t, want, once)
			require.GreaterOrEqual(t, repeats, kills/2)
			require.LessOrEqual(t, repeats, kills)
		})
	}
}

// requireRepeats wants everything in order, but that after a kill some comes again, from at most so many events before on as are
// not saved one by one.
func requireRepeats(t *testing.T, want, got []string) {
	t.Helper()
	place := map[string]int{}
	for i, id := range want {
		place[id] = i
	}
	next, back := 0, 0
	for _, id := range got {
		at, known := place[id]
		require.True(t, known)
		if at < next {
			back++
			require.LessOrEqual(t, next-at, relay.DefaultSaveEvery)
		} else {
			require.Equal(t, next, at, "nothing is left out")
		}
		next = at + 1
	}
	require.Equal(t, len(want), next)
	require.LessOrEqual(t, back, kills)
}

// startConsumer runs the test binary as a consumer.
func startConsumer(t *testing.T, mode, path, addr string, dies int) *worker {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), consumerEnv+"="+mode, consumerDies+"="+strconv.Itoa(dies), workerDB+"="+path, workerRedis+"="+addr,
		"GORACE=atexit_sleep_ms=0")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	w := &worker{t, cmd, stdout}
	t.Cleanup(w.kill)
	return w
}
