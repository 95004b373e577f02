package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/schema"
)

// output is a stream that a test can wait on.
type output struct {
	mu   sync.Mutex
	text strings.Builder
	want string
	seen func()
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.text.Write(p)
	if strings.Contains(o.text.String(), o.want) {
		o.seen()
	}
	return n, err
}

// until runs a command in the test until its output has a text, as Ctrl-C would end it.
func until(t *testing.T, want string, args ...string) (stdout string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), redistest.Patience)
	defer cancel()
	out := &output{want: want, seen: cancel}
	a := newApp(strings.NewReader(""), out, io.Discard)
	a.environ, a.envFile = []string{}, os.DevNull
	require.Equal(t, exitOK, a.run(ctx, args))
	require.Contains(t, out.text.String(), want)
	return out.text.String()
}

func TestDevNeedsNothingAndLeavesNothing(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("REDIS_URL", "redis://a-real-one:6379")
	t.Setenv("LOG_LEVEL", "DEBUG")
	out := until(t, "referee change, match", "run", "--dev")
	require.Contains(t, out, "15 matches: 15 x new assignment")
	require.Contains(t, out, "cycle 1 completed")
	require.NotContains(t, out, "070-17406")
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestDevTakesWhatItIsGiven(t *testing.T) {
	folder := t.TempDir()
	db, list := filepath.Join(folder, "own.db"), filepath.Join(folder, "own.json")
	require.NoError(t, os.WriteFile(list, []byte("no list"), 0o600))
	server := redistest.Start(t, redistest.Options{})
	until(t, "cycle 1 failed", "run", "--dev", "--db", db, "--source", list, "--redis-url", server.URL())
	require.FileExists(t, db)
}

func TestAServiceWhoseOutboxFailsEnds(t *testing.T) {
	for _, enabled := range []bool{true, false} {
		a := newApp(strings.NewReader(""), io.Discard, io.Discard)
		a.environ, a.envFile = []string{}, os.DevNull
		a.db, a.redisURL = filepath.Join(t.TempDir(), "test.db"), "redis://127.0.0.1:1"
		cfg, err := a.load(nil)
		require.NoError(t, err)
		cfg.Redis.Enabled = enabled
		o, err := openOutbox(cfg, nil, false)
		require.NoError(t, err)
		recorder, err := newRecorder(o, cfg, nil)
		require.NoError(t, err)
		p := &processor{cfg: cfg, log: a.logger(cfg), source: newFeedSource(), outbox: o, recorder: recorder}
		require.NoError(t, os.Remove(o.Path())) // under our feet: what is written is lost
		require.ErrorIs(t, p.run(t.Context()), outbox.ErrFailed)
		require.ErrorIs(t, p.runOnce(t.Context(), time.Second), outbox.ErrFailed)
		require.NoError(t, o.Close())
	}
}

func TestWhatIsLeftAfterDraining(t *testing.T) {
	stats := outbox.Stats{Topics: []outbox.TopicStats{{Pending: 2}, {}, {Pending: 1}}}
	after := func(h relay.Health) chan relay.Health {
		c := make(chan relay.Health, 1)
		c <- h
		return c
	}
	for _, tt := range []struct {
		name   string
		stats  outbox.Stats
		health chan relay.Health
		code   int
		says   string
	}{
		{"nothing", outbox.Stats{}, nil, exitOK, ""},
		{"Redis was away", stats, after(relay.Health{State: relay.RedisDown, LastError: "refused"}), exitUnreachable, "3 events left in the outbox, where nothing is lost (the time is up: refused)"},
		{"nobody was subscribed", stats, after(relay.Health{State: relay.Held}), exitPartly, "(the time is up)"},
		{"it was interrupted", stats, nil, exitPartly, "(it was interrupted)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := leftover(tt.stats, tt.health)
			if tt.code == exitOK {
				require.NoError(t, err)
				return
			}
			code, message := explain(err)
			require.Equal(t, tt.code, code)
			require.Contains(t, message, tt.says)
		})
	}
}

func TestTheConfigurationReachesTheRelay(t *testing.T) {
	load := func(overrides map[string]string) *config.Config {
		cfg, err := config.Load(config.Options{Environ: []string{}, EnvFile: os.DevNull, Overrides: overrides})
		require.NoError(t, err)
		return cfg
	}
	opts := relayOptions(load(map[string]string{"RELAY_REJOIN_WAIT": "0", "RELAY_ON_POISON": "block", "RELAY_HOLD_MAX": "3",
		"RELAY_STREAMS": "on", "RELAY_STREAM_MAXLEN": "7", "RELAY_STREAM_MAX_UNREAD": "70", "RELAY_WAIT_REPLICAS": "2", "RELAY_WAIT_TIMEOUT": "4", "RELAY_MAX_BYTES_PER_SECOND": "1KiB"}), nil)
	require.True(t, opts.Streams)
	require.Equal(t, []int{7, 70, 2, 1024}, []int{opts.StreamMaxLen, opts.StreamMaxUnread, opts.WaitReplicas, opts.BytesPerSecond})
	require.Equal(t, 4*time.Second, opts.WaitTimeout)
	require.Equal(t, "https://github.com/PitchConnect/matchrelay/schema/system_alert.json", opts.Schemas["system_alert"])
	require.Negative(t, opts.RejoinWait)
	require.True(t, opts.BlockOnPoison)
	require.Equal(t, 3*time.Second, opts.HoldMax)
	require.Equal(t, map[string]int{"match_updates": 1}, opts.MinReceivers)

	// The login in the URL of Sentinels is theirs, and the master's unless that has one of its own.
	sentinels := map[string]string{"REDIS_URL": "redis://me:secret@a:1,redis://b:1", "REDIS_SENTINEL_MASTER": "main"}
	client := clientOptions(load(sentinels))
	require.Equal(t, []string{"a:1", "b:1"}, client.Addrs)
	require.Equal(t, []string{"me", "secret", "me", "secret"},
		[]string{client.SentinelUsername, client.SentinelPassword, client.Username, client.Password})
	sentinels["REDIS_USERNAME"], sentinels["REDIS_PASSWORD"] = "app", "other"
	client = clientOptions(load(sentinels))
	require.Equal(t, []string{"me", "secret", "app", "other"},
		[]string{client.SentinelUsername, client.SentinelPassword, client.Username, client.Password})
}

func TestAlertsOfTheRelayAreEvents(t *testing.T) {
	e, err := alertEvent(relay.Alert{Kind: "redis_full", Message: "free some memory", Topic: "match_updates", Time: time.Now()})
	require.NoError(t, err)
	require.Equal(t, "system_alert", e.Topic)
	require.True(t, e.Urgent)
	require.Contains(t, string(e.Payload), `"severity":"error"`)
	e, err = alertEvent(relay.Alert{Kind: "outbox_rolled_back", Critical: true, Message: "an older copy"})
	require.NoError(t, err)
	require.Contains(t, string(e.Payload), `"severity":"critical"`)
	_, err = alertEvent(relay.Alert{Kind: "Not A Kind"})
	require.Error(t, err)
}

func TestWhatTheSubscriberOfDevPrints(t *testing.T) {
	require.Equal(t, "2 changes of 2 kinds", changesText([]schema.DetailedChange{{Category: schema.TimeChange}, {Category: schema.DateChange}}))
	require.Contains(t, describe([]byte("nonsense")), "not a message: ")
	for _, kind := range []string{"match_updates", "processing_status", "system_alert"} {
		broken := `{"message_id":"1","timestamp":"2025-09-21T10:30:00Z","source":"s","version":"1.0","type":"` + kind + `","payload":{"metadata":1,"status":1,"severity":1}}`
		require.Contains(t, describe([]byte(broken)), "invalid message")
	}
}
