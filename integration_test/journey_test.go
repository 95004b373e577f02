package integration_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/schema"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

// fogisChannels are what the existing subscriber listens to.
var fogisChannels = []string{"fogis:matches:updates:v2", "fogis:matches:updates:v1", "fogis:matches:updates",
	"fogis:processor:status", "fogis:system:alerts"}

// update is what the existing subscriber reads of a match update.
type update struct {
	SchemaVersion string `json:"schema_version"`
	MessageID     string `json:"message_id"`
	Payload       struct {
		SchemaVersion   string            `json:"schema_version"`
		Matches         []json.RawMessage `json:"matches"`
		DetailedChanges []struct {
			MatchID  string `json:"match_id"`
			Category string `json:"category"`
		} `json:"detailed_changes"`
		Metadata struct {
			HasChanges   bool `json:"has_changes"`
			TotalMatches int  `json:"total_matches"`
		} `json:"metadata"`
	} `json:"payload"`
}

func TestTheMainJobWithRedisDownFromTheStart(t *testing.T) {
	t.Parallel()
	server := redistest.New(t, redistest.Options{})
	db := filepath.Join(t.TempDir(), "outbox.db")
	env := []string{"MATCHRELAY_DB=" + db, "REDIS_URL=" + server.URL(), "REDIS_RETRY_MAX_DELAY=1"}
	feed := fogistest.New(1, 15, time.Now())
	file := filepath.Join(t.TempDir(), "list.json")
	ingest := func() (summary struct {
		Matches, New, Updated, Cancelled, Removed, Changes int
		Sequences                                          []uint64
	}) {
		require.NoError(t, os.WriteFile(file, feed.JSON(), 0o600))
		require.NoError(t, json.Unmarshal([]byte(runOK(t, env, "ingest", file, "-o", "json")), &summary))
		return summary
	}

	lists := [][]byte{feed.JSON()}
	first := ingest()
	require.Equal(t, 15, first.Matches)
	require.Equal(t, 15, first.New)
	require.NotEmpty(t, first.Sequences)
	var announced []fogistest.Change
	for _, kind := range []fogistest.Kind{fogistest.NewReferee, fogistest.NewKickOff, fogistest.Cancelled, fogistest.NewMatch, fogistest.RemovedMatch} {
		announced = append(announced, feed.Apply(kind))
		lists = append(lists, feed.JSON())
		require.Positive(t, ingest().Changes)
	}
	require.Empty(t, ingest().Sequences, "the same list again is no event")

	var status struct {
		Relay  struct{ State string }
		Topics []struct {
			Topic, Channel             string
			Pending, Delivered, Parked uint64
		}
	}
	require.NoError(t, json.Unmarshal([]byte(runOK(t, env, "status", "-o", "json")), &status))
	require.Equal(t, "not_running", status.Relay.State)

	server.Start()
	sub := redistest.Subscribe(t, server.Addr(), redistest.SubscriberOptions{Channels: fogisChannels})
	sub.WaitSubscribed(1)
	runOK(t, env, "relay", "--until-empty")

	messages := sub.Messages("fogis:matches:updates")
	require.Len(t, messages, len(lists))
	for i, m := range messages {
		var got update
		require.NoError(t, json.Unmarshal(m.Payload, &got))
		require.Equal(t, "2.0", got.SchemaVersion)
		require.Equal(t, "2.0", got.Payload.SchemaVersion)
		require.True(t, got.Payload.Metadata.HasChanges)
		decoded, err := schema.Decode(m.Payload)
		require.NoError(t, err)
		require.NoError(t, decoded.Validate())
		want, err := schema.ParseMatches(lists[i])
		require.NoError(t, err)
		require.Len(t, got.Payload.Matches, len(want))
		for j, match := range want {
			require.True(t, bytes.Contains(m.Payload, match.Raw()), "match %s of list %d is there byte for byte", match.ID(), i)
			require.Equal(t, string(match.Raw()), string(got.Payload.Matches[j]), "and in its place")
		}
		if i > 0 {
			require.NotEmpty(t, got.Payload.DetailedChanges)
			require.Equal(t, announced[i-1].MatchID, got.Payload.DetailedChanges[0].MatchID)
		}
	}
	require.Len(t, distinct(redistest.Events(sub.Messages(), nil, redistest.EnvelopeID)), len(sub.Messages()), "each event once")

	require.NoError(t, json.Unmarshal([]byte(runOK(t, env, "status", "-o", "json")), &status))
	for _, topic := range status.Topics {
		require.Zero(t, topic.Pending, topic.Topic)
		require.Zero(t, topic.Parked, topic.Topic)
	}
}

func TestTheServiceFollowsItsSourceThroughAnOutageAndEndsCleanly(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{Persistence: redistest.AOF})
	sub := redistest.Subscribe(t, server.Addr(), redistest.SubscriberOptions{Channels: fogisChannels, Reconnect: time.Second})
	sub.WaitSubscribed(1)
	dir := shortFolder(t)
	db, file := filepath.Join(dir, "outbox.db"), filepath.Join(dir, "list.json")
	env := []string{"MATCHRELAY_DB=" + db, "REDIS_URL=" + server.URL(), "REDIS_RETRY_MAX_DELAY=1"}
	feed := fogistest.New(2, 15, time.Now())
	write := func() {
		require.NoError(t, os.WriteFile(file+".new", feed.JSON(), 0o600))
		require.NoError(t, os.Rename(file+".new", file))
	}
	updates := func() int {
		return len(distinct(redistest.Events(sub.Messages("fogis:matches:updates"), nil, redistest.EnvelopeID)))
	}
	write()
	service := program(t, env, "run", "--source", file)
	var log bytes.Buffer
	service.Stderr = &log
	require.NoError(t, service.Start())
	ended := false
	t.Cleanup(func() {
		if !ended {
			_ = service.Process.Kill()
			_ = service.Wait()
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	eventually(t, "the first list arrives", func() bool { return updates() == 1 })
	for i := range 3 {
		if i == 1 {
			server.Kill()
		}
		if i == 2 {
			server.Start()
		}
		feed.Apply(fogistest.NewReferee)
		write()
		eventually(t, "the list is recorded", func() bool {
			var infos bytes.Buffer
			infos.WriteString(runOK(t, env, "events", "list", "--topic", "match_updates", "-o", "jsonl"))
			return bytes.Count(infos.Bytes(), []byte("\n")) == i+2
		})
	}
	eventually(t, "every list arrives", func() bool { return updates() == 4 })
	eventually(t, "and all that was said of them", func() bool { return runOK(t, env, "events", "list", "--state", "pending", "-o", "jsonl") == "" })
	require.NoError(t, service.Process.Signal(syscall.SIGTERM))
	require.NoError(t, service.Wait(), "SIGTERM ends in exit code 0")
	ended = true

	box := openBox(t, db)
	requireSound(t, box)
	list := logged(t, box)
	received := func() []redistest.Event {
		return redistest.Events(sub.Messages(), map[string]string{
			"fogis:matches:updates": "match_updates", "fogis:processor:status": "processing_status", "fogis:system:alerts": "system_alert",
		}, redistest.EnvelopeID)
	}
	eventually(t, "the subscriber has read it", func() bool { return len(distinct(received())) >= len(list) })
	require.Empty(t, redistest.Check(list, received(), distinct(list)), "nothing is lost or out of order, and nothing is there that was not appended")
	require.NotContains(t, log.String(), "070-", "no personal data in the log")
	require.NotContains(t, log.String(), "example.com")
}

func TestTheDemoSucceeds(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"embedded": {"demo"}, "a real redis-server, killed": {"demo", "--redis-server"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			r := run(t, nil, args...)
			require.Zero(t, r.code, fmt.Sprint(r.stdout, r.stderr))
			require.Contains(t, r.stdout, "match_updates")
			t.Log(time.Since(began).Round(time.Second))
		})
	}
}
