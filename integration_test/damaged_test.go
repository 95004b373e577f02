package integration_test

import (
	"encoding/binary"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

// damages are bytes of a page, one bit of which makes bbolt panic, or look for a key far behind the end of the file, for which the
// system ends a process (SIGBUS).
var damages = map[string]int64{"of an unknown page": 8, "of a page that points out of the file": 16 + 4 + 3}

// damagePage flips a bit in the first page of a bucket of a file that is closed.
func damagePage(t *testing.T, path, bucket string, offset int64) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
	require.NoError(t, err)
	var root int64
	size := int64(db.Info().PageSize)
	require.NoError(t, db.View(func(tx *bolt.Tx) error {
		root = int64(tx.Bucket([]byte(bucket)).Root())
		return nil
	}))
	require.NoError(t, db.Close())
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	require.EqualValues(t, 1, file[root*size+8], "a branch: the bucket has several pages")
	first := int64(binary.LittleEndian.Uint64(file[root*size+16+8:]))
	file[first*size+offset] ^= 4
	require.NoError(t, os.WriteFile(path, file, 0o600))
}

var trace = regexp.MustCompile(`(?m)^panic:|^fatal error:|^goroutine \d|SIGBUS`)

// requireDamaged runs a command that meets with damage.
func requireDamaged(t *testing.T, env []string, args ...string) {
	t.Helper()
	r := run(t, env, args...)
	require.Equal(t, 5, r.code, "%v: %s", args, r.stderr)
	require.Contains(t, r.stderr, "the outbox file is damaged", args)
	require.Contains(t, r.stderr, "restore a backup", args)
	require.NotRegexp(t, trace, r.stdout+r.stderr, args)
}

// post posts to the API at an address.
func post(t *testing.T, addr, path, key, body string) (status int, answer string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+path, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+httpToken)
	request.Header.Set("Idempotency-Key", key)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(b)
}

// waitFor waits until a subscriber has a message on the channel of a topic that has a text.
func waitFor(t *testing.T, sub *redistest.Subscriber, topic, text string) {
	t.Helper()
	eventually(t, topic+" with "+text, func() bool {
		for _, m := range sub.Messages(channels[topic]) {
			if strings.Contains(string(m.Payload), text) {
				return true
			}
		}
		return false
	})
}

func TestDamagedPage_OfTheLogEndsNoRelayAndItGoesOnDelivering(t *testing.T) {
	t.Parallel()
	for name, offset := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, redistest.Options{})
			sub := subscribe(t, server, 0)
			path := filepath.Join(shortFolder(t), "test.db")
			box, err := outbox.Open(path, outbox.Options{})
			require.NoError(t, err)
			for range 100 {
				require.NoError(t, commitStep(box, nil))
			}
			drain(t, box, server.Addr())
			require.NoError(t, box.Close())
			damagePage(t, path, "matchrelay/log/"+statuses, offset)

			addr := freePort(t)
			env := append(separateEnv(path, server), "MATCHRELAY_HTTP_ADDR="+addr, "MATCHRELAY_HTTP_TOKEN="+httpToken)
			r := startSeparate(t, env)
			eventually(t, "the relay has the file", func() bool { s, ok := whoever(path); return ok && s.Relay != nil })
			more := func(key string) {
				t.Helper()
				code, answer := post(t, addr, "/v1/events", key, `{"type":"processing_status","payload":{"status":"`+key+`","cycle_number":1,"processing_duration_ms":0,"matches_processed":0,"errors":[],"details":{}}}`)
				require.Equal(t, 200, code, answer)
				waitFor(t, sub, statuses, `"status":"`+key+`"`)
			}
			more("started")
			for range 2 {
				requireDamaged(t, env, "events", "list")
				requireDamaged(t, env, "events", "list", "-o", "jsonl", "--topic", statuses)
				requireDamaged(t, env, "events", "show", "2")
			}
			require.Len(t, strings.Split(runOK(t, env, "events", "list", "-o", "jsonl", "--topic", updates), "\n"), 101, "another topic is listed")
			more("completed")
			r.end() // it has lived until now
			require.NotRegexp(t, trace, r.stderr.String())
		})
	}
}

func TestDamagedPage_OfTheMatchListFailsCyclesAndTheRestIsDelivered(t *testing.T) {
	t.Parallel()
	for name, offset := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, redistest.Options{})
			sub := subscribe(t, server, 0)
			folder := shortFolder(t)
			path, list := filepath.Join(folder, "test.db"), filepath.Join(folder, "list.json")
			feed := fogistest.New(1, 200, time.Now())
			box, err := outbox.Open(path, outbox.Options{})
			require.NoError(t, err)
			recorder, err := changes.NewRecorder(box, changes.Options{})
			require.NoError(t, err)
			matches, err := schema.ParseMatches(feed.JSON())
			require.NoError(t, err)
			_, err = recorder.Record(t.Context(), matches, changes.Metadata{})
			require.NoError(t, err)
			require.NoError(t, box.Close())
			damagePage(t, path, "matchrelay/state", offset)
			feed.Next(1)
			require.NoError(t, os.WriteFile(list, feed.JSON(), 0o600))

			addr := freePort(t)
			env := append(separateEnv(path, server), "MATCHRELAY_HTTP_ADDR="+addr, "MATCHRELAY_HTTP_TOKEN="+httpToken)
			r := startSeparate(t, env, "run", "--source", list)
			waitFor(t, sub, updates, `"matches"`) // was pending
			waitFor(t, sub, statuses, `"status":"failed"`)
			waitFor(t, sub, alerts, `"processing_error"`)
			waitFor(t, sub, alerts, "the outbox file is damaged")
			for range 2 {
				requireDamaged(t, env, "matches", "list")
				requireDamaged(t, env, "ingest", list)
				code, answer := post(t, addr, "/v1/matches", "a list", string(feed.JSON()))
				require.Equal(t, 500, code, answer)
				require.Contains(t, answer, `"code":"damaged"`)
				require.NotRegexp(t, trace, answer)
			}
			code, answer := post(t, addr, "/v1/events", "an alert", `{"type":"system_alert","payload":{"alert_type":"late","severity":"info","message":"it goes on","details":{}}}`)
			require.Equal(t, 200, code, answer)
			waitFor(t, sub, alerts, "it goes on")
			r.end() // it has lived until now
			require.Contains(t, r.stderr.String(), "cycle failed; the next one comes as usual")
			require.NotRegexp(t, trace, r.stderr.String())
		})
	}
}
