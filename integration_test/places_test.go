package integration_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

// place is where Redis runs: how the program is told, where a subscriber and a reader of streams find it.
type place struct {
	env        []string
	subscribes string // an address
	streams    redis.Cmdable
}

func TestTheProgramDeliversWhereverRedisRuns(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t *testing.T) place{
		"TLS with a client certificate": func(t *testing.T) place {
			keys := redistest.NewTLS(t, true)
			server := redistest.Start(t, redistest.Options{TLS: keys})
			return place{[]string{"REDIS_URL=rediss://" + keys.Addr(), "REDIS_TLS_CA=" + keys.Cert, "REDIS_TLS_CERT=" + keys.Cert,
				"REDIS_TLS_KEY=" + keys.Key}, server.Addr(), server.Client()}
		},
		"Sentinels": func(t *testing.T) place {
			master := redistest.Start(t, redistest.Options{})
			redistest.Start(t, redistest.Options{ReplicaOf: master}).WaitInSync()
			sentinels := redistest.StartSentinels(t, master, 3)
			return place{[]string{"REDIS_URL=" + urls(sentinels.Addrs()), "REDIS_SENTINEL_MASTER=" + redistest.MasterName,
				"RELAY_WAIT_REPLICAS=1"}, master.Addr(), master.Client()}
		},
		"a Cluster": func(t *testing.T) place {
			cluster := redistest.StartCluster(t, 3, 0, redistest.Options{})
			return place{[]string{"REDIS_URL=" + urls(cluster.Addrs())}, cluster.Servers[0].Addr(), cluster.Client()}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := start(t)
			folder := t.TempDir()
			env := append(place.env, "MATCHRELAY_DB="+filepath.Join(folder, "outbox.db"), "RELAY_STREAMS=on")
			sub := redistest.Subscribe(t, place.subscribes, redistest.SubscriberOptions{Channels: fogisChannels})
			sub.WaitSubscribed(1)
			list := filepath.Join(folder, "list.json")
			feed := fogistest.New(1, 15, time.Now())
			for range 3 {
				require.NoError(t, os.WriteFile(list, feed.JSON(), 0o600))
				runOK(t, env, "ingest", list)
				feed.Apply(fogistest.NewReferee)
			}
			runOK(t, env, "relay", "--until-empty")

			stream := redistest.ReadStream(t, place.streams, relay.StreamKey("fogis:matches:updates"))
			require.Len(t, stream, 3)
			for i, m := range sub.Messages("fogis:matches:updates") {
				require.Equal(t, stream[i].MessageID, redistest.EnvelopeID(m.Payload))
			}
			require.Len(t, sub.Messages("fogis:matches:updates"), 3)

			var examination struct {
				Checks []struct{ Name, Status, Found string }
				Fail   int
			}
			require.NoError(t, json.Unmarshal([]byte(runOK(t, env, "doctor", "-o", "json")), &examination))
			require.Zero(t, examination.Fail, examination.Checks)
			for _, check := range examination.Checks {
				if check.Name == "marks" || check.Name == "receivers" {
					require.Equal(t, "ok", check.Status, "%s: %s", check.Name, check.Found)
				}
			}
		})
	}
}

func urls(addrs []string) string {
	return "redis://" + strings.Join(addrs, ",redis://")
}
