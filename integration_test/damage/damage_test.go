package damage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/program"
	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

var (
	files = flag.Int("files", 3, "how many damaged files to try")
	from  = flag.Uint64("from", uint64(time.Now().UnixNano()), "the seed of the first")
)

// limit is what no command on so small a file comes near to.
const limit = 3 * time.Minute

// sample is an outbox file that has something of everything, and what is true of it.
type sample struct {
	file    []byte
	list    string          // the next match list
	match   string          // the id of a match
	events  map[string]bool // its lines of events list
	matches map[string]bool // its lines of matches list
	sent    map[string]bool // what subscribers may get
	redis   *redistest.Server
	admin   *redis.Client
}

func (s *sample) run(t *testing.T, db string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	path, err := program.Path()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = filepath.Dir(db)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + cmd.Dir, "MATCHRELAY_DB=" + db, "REDIS_URL=" + s.redis.URL(), "RELAY_REJOIN_WAIT=1", "RELAY_MIN_RECEIVERS=match_updates=0"}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	require.NoError(t, ctx.Err(), "%v hangs", args)
	if exit := (*exec.ExitError)(nil); err != nil {
		require.ErrorAs(t, err, &exit)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func newSample(t *testing.T) *sample {
	dir := t.TempDir()
	db := filepath.Join(dir, "outbox.db")
	s := &sample{redis: redistest.Start(t, redistest.Options{}), list: filepath.Join(dir, "list.json"), sent: map[string]bool{}}
	s.admin = s.redis.Client()
	ok := func(args ...string) string {
		code, out, errs := s.run(t, db, args...)
		require.Zero(t, code, "%v: %s", args, errs)
		return out
	}
	feed := fogistest.New(1, 30, time.Now())
	record := func(n int) {
		for range n {
			feed.Next(n)
			require.NoError(t, os.WriteFile(s.list, feed.JSON(), 0o600))
			ok("ingest", s.list)
		}
	}
	record(3)
	ok("relay", "--until-empty") // to no one
	ok("events", "replay", "--state", "unheard", "--limit", "1", "--allow-stale", "--yes")
	sub := s.subscribe(t)
	record(3)
	ok("relay", "--until-empty")
	sub.Close()
	record(4)
	ok("events", "discard", "--state", "pending", "--limit", "1", "--reason", "a test", "--yes")
	s.events = lines(ok("events", "list", "-o", "jsonl"))
	s.matches = lines(ok("matches", "list", "-o", "jsonl"))
	s.match = regexp.MustCompile(`"match_id":"?(\d+)`).FindStringSubmatch(ok("matches", "list", "-o", "jsonl"))[1]
	for n := range len(s.events) {
		code, out, _ := s.run(t, db, "events", "show", fmt.Sprint(n+1), "--payload")
		require.Zero(t, code)
		s.sent[redistest.EnvelopeID([]byte(out))+" "+out] = true
	}
	feed.Next(0)
	require.NoError(t, os.WriteFile(s.list, feed.JSON(), 0o600))
	ok("compact")
	var err error
	s.file, err = os.ReadFile(db)
	require.NoError(t, err)
	return s
}

func (s *sample) subscribe(t *testing.T) *redistest.Subscriber {
	sub := redistest.Subscribe(t, s.redis.Addr(), redistest.SubscriberOptions{Channels: []string{"fogis:matches:updates"}})
	sub.WaitSubscribed(1)
	return sub
}

func lines(text string) map[string]bool {
	found := map[string]bool{}
	for line := range strings.Lines(text) {
		found[line] = true
	}
	return found
}

// commands are tried one by one on a copy of the damaged file, in its folder.
func (s *sample) commands() [][]string {
	return [][]string{
		{"status", "-o", "json"},
		{"events", "list", "-o", "jsonl"},
		{"events", "list", "-o", "jsonl", "--match", s.match},
		{"events", "list", "-o", "jsonl", "--state", "pending", "--topic", "match_updates"},
		{"events", "show", "1", "-o", "json"},
		{"events", "show", "3", "--payload"},
		{"events", "replay", "--seq", "4..", "--allow-stale", "--yes", "-o", "json"},
		{"events", "replay", "--state", "delivered", "--dry-run", "--yes"},
		{"events", "discard", "--state", "pending", "--reason", "a test", "--yes", "-o", "json"},
		{"audit", "-o", "jsonl"},
		{"matches", "list", "-o", "jsonl"},
		{"matches", "show", s.match},
		{"matches", "history", s.match, "-o", "jsonl"},
		{"ingest", s.list, "-o", "json"},
		{"resync", "--yes", "-o", "json"},
		{"doctor", "-o", "json"},
		{"check", "-o", "json"},
		{"compact"},
		{"backup", "save", "copy.db"},
		{"backup", "verify", "outbox.db"},
		{"backup", "restore", "outbox.db", "--yes"},
		{"relay", "--until-empty", "--timeout", "3s"},
		{"run", "--once", "--source", s.list, "--drain-timeout", "3s"},
	}
}

// traces are what the program leaves when it is ended by what it has met with.
var traces = regexp.MustCompile(`(?m)^panic:|^fatal error:|^goroutine \d|SIG[A-Z]+`)

// try runs a command on a copy of a damaged file, and tells what is wrong with what it does.
func (s *sample) try(t *testing.T, db string, file []byte, command []string) error {
	t.Helper()
	require.NoError(t, os.WriteFile(db, file, 0o600))
	require.NoError(t, s.admin.FlushAll(t.Context()).Err())
	sub := s.subscribe(t)
	defer sub.Close()
	code, out, errs := s.run(t, db, command...)
	switch found := traces.FindString(errs + out); {
	case found != "":
		return fmt.Errorf("%s, exit code %d: %s", found, code, errs)
	case code < 0 || code > 6:
		return fmt.Errorf("exit code %d: %s", code, errs)
	case code != 0 && errs == "" && out == "":
		return fmt.Errorf("exit code %d, and no word of why", code)
	}
	known := map[string]map[string]bool{"events list": s.events, "matches list": s.matches}[strings.Join(command[:min(2, len(command))], " ")]
	for line := range lines(out) {
		if honest := strings.Contains(line, `"damaged":true`) && code == 5; known != nil && !known[line] && !honest {
			return fmt.Errorf("invented: %s", line)
		}
	}
	if slices.Equal(command, []string{"events", "show", "3", "--payload"}) && code == 0 && !s.sent[redistest.EnvelopeID([]byte(out))+" "+out] {
		return errors.New("another payload")
	}
	for _, m := range sub.Messages() {
		payload := string(m.Payload)
		if command[0] == "relay" && !s.sent[redistest.EnvelopeID(m.Payload)+" "+payload] {
			return fmt.Errorf("published, and never recorded: %.200s", payload)
		}
		if !json.Valid(m.Payload) {
			return fmt.Errorf("published: %.200s", payload)
		}
	}
	return nil
}

func TestDamage_EndsNoCommandAndInventsNothing(t *testing.T) {
	s := newSample(t)
	db := filepath.Join(t.TempDir(), "outbox.db")
	t.Logf("%d files of %d bytes, again: go test ./integration_test/damage -files %d -from %d", *files, len(s.file), *files, *from)
	for seed := *from; seed < *from+uint64(*files); seed++ {
		file, what := damage(rand.New(rand.NewPCG(seed, 0)), s.file)
		for _, command := range s.commands() {
			if err := s.try(t, db, file, command); err != nil {
				t.Errorf("seed %d (%s): %s: %v", seed, what, strings.Join(command, " "), err)
			}
		}
	}
}
