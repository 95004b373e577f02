package integration_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/schema"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

// The environment of a deployment of the Python integration, taken over as it is: its subscribers hear of what really
// changed since its last cycle, and of nothing else.
func TestTheEnvironmentOfThePythonIntegrationWorksAsItIs(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	sub := redistest.Subscribe(t, server.Addr(), redistest.SubscriberOptions{Channels: fogisChannels})
	sub.WaitSubscribed(1)

	feed := fogistest.New(3, 15, time.Now())
	data := t.TempDir()
	previous := filepath.Join(data, "previous_matches.json")
	require.NoError(t, os.WriteFile(previous, feed.JSON(), 0o600))
	var current atomic.Pointer[[]byte]
	serve := func() { list := feed.JSON(); current.Store(&list) }
	serve()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/matches" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(*current.Load())
	}))
	defer api.Close()

	env := []string{
		"REDIS_URL=" + server.URL(), "REDIS_PUBSUB_ENABLED=true", "REDIS_CONNECTION_TIMEOUT=5", "REDIS_SOCKET_TIMEOUT=5",
		"REDIS_MAX_RETRIES=3", "REDIS_RETRY_DELAY=1.0", "REDIS_HEALTH_CHECK_INTERVAL=30", "REDIS_DECODE_RESPONSES=true",
		"REDIS_MATCH_UPDATES_CHANNEL=fogis:matches:updates", "REDIS_PROCESSOR_STATUS_CHANNEL=fogis:processor:status",
		"REDIS_SYSTEM_ALERTS_CHANNEL=fogis:system:alerts",
		"DATA_FOLDER=" + data, "FOGIS_API_CLIENT_URL=" + api.URL, "SERVICE_INTERVAL=300", "RUN_MODE=oneshot",
		"PREVIOUS_MATCHES_FILE=previous_matches.json", "LOG_LEVEL=INFO",
		"FOGIS_USERNAME=somebody", "PYTHONPATH=/app", // theirs, and nothing to us
	}
	cycle := func() string {
		r := run(t, env, "run")
		require.Zero(t, r.code, r.stderr)
		require.NotContains(t, r.stderr, "070-17406", "no personal data in the log")
		require.NotContains(t, r.stderr, "is not a variable of matchrelay")
		return r.stderr
	}
	heard := func() (updates []update) {
		for _, m := range sub.Messages("fogis:matches:updates") {
			var u update
			require.NoError(t, json.Unmarshal(m.Payload, &u))
			updates = append(updates, u)
		}
		return updates
	}

	log := cycle()
	require.Contains(t, log, "previous match list imported")
	require.Contains(t, log, "matches=15")
	require.Empty(t, heard(), "nothing has changed since: no flood of new matches")
	require.Len(t, sub.WaitFor(2), 2, "the cycle has started, and completed")
	before, err := os.ReadFile(previous)
	require.NoError(t, err)

	change := feed.Apply(fogistest.NewReferee)
	serve()
	require.NotContains(t, cycle(), "imported")
	sub.WaitFor(5)
	updates := heard()
	require.Len(t, updates, 1)
	require.Len(t, updates[0].Payload.DetailedChanges, 1)
	require.Equal(t, change.MatchID, updates[0].Payload.DetailedChanges[0].MatchID)
	require.Equal(t, string(schema.RefereeChange), updates[0].Payload.DetailedChanges[0].Category)
	require.True(t, updates[0].Payload.Metadata.HasChanges)
	require.Len(t, updates[0].Payload.Matches, 15)

	after, err := os.ReadFile(previous)
	require.NoError(t, err)
	require.Equal(t, before, after, "the old file is left alone: it is the way back")

	// The way back, and over again: what matchrelay holds goes into the old file, and nobody is told anything twice.
	raw := runOK(t, env, "matches", "list", "--raw")
	require.NoError(t, os.WriteFile(previous, []byte(raw), 0o600))
	require.NoError(t, os.Remove(filepath.Join(data, "matchrelay.db")))
	require.Contains(t, cycle(), "previous match list imported")
	sub.WaitFor(7)
	require.Len(t, heard(), 1)

	// Whoever has lost the list gets it whole, as an update that the existing subscriber does not skip.
	runOK(t, env, "resync", "--yes")
	runOK(t, env, "relay", "--until-empty")
	sub.WaitFor(8)
	updates = heard()
	require.Len(t, updates, 2)
	require.True(t, updates[1].Payload.Metadata.HasChanges)
	require.Empty(t, updates[1].Payload.DetailedChanges)
	require.Len(t, updates[1].Payload.Matches, 15)
}

// A change that came while neither of the two ran is told by the first cycle.
func TestTheFirstCycleTellsWhatChangedSinceThePythonIntegrationStopped(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	sub := redistest.Subscribe(t, server.Addr(), redistest.SubscriberOptions{Channels: fogisChannels})
	sub.WaitSubscribed(1)
	feed := fogistest.New(4, 15, time.Now())
	data := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(data, "old.json"), []byte(`{"matchlista": `+string(feed.JSON())+`}`), 0o600))
	change := feed.Apply(fogistest.NewKickOff)
	list := feed.JSON()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(list) }))
	defer api.Close()

	runOK(t, []string{"REDIS_URL=" + server.URL(), "REDIS_ENABLED=true", "DATA_FOLDER=" + data, "FOGIS_API_CLIENT_URL=" + api.URL,
		"RUN_MODE=oneshot", "PREVIOUS_MATCHES_FILE=old.json"}, "run")
	sub.WaitFor(3)
	messages := sub.Messages("fogis:matches:updates")
	require.Len(t, messages, 1)
	var got update
	require.NoError(t, json.Unmarshal(messages[0].Payload, &got))
	require.NotEmpty(t, got.Payload.DetailedChanges)
	for _, c := range got.Payload.DetailedChanges {
		require.Equal(t, change.MatchID, c.MatchID)
		require.NotEqual(t, string(schema.NewAssignment), c.Category)
	}
}
