package integration_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/schema"
)

const matchesOfLarge = 5000

// largeList is one of 5,000 matches with 20 referees each, some 20 MB; two referees of each have another number in each version.
func largeList(version int) []byte {
	var b bytes.Buffer
	for i := range matchesOfLarge {
		fmt.Fprintf(&b, `,{"matchid":%d,"speldatum":"2030-01-02","domaruppdraglista":[`, i+1)
		for j := range 20 {
			if j > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"domareid":%d,"domarrollid":%d,"personnamn":"Domare %[1]d","mobiltelefon":"070-%07[3]d","adress":"%[4]s"}`,
				20*i+j, j, version*(j%10/9), strings.Repeat("Storgatan 1, ", 6))
		}
		b.WriteString("]}")
	}
	b.Bytes()[0] = '['
	b.WriteString("]\n")
	return b.Bytes()
}

// roomy lets the program append an event that holds such a list.
var roomy = []string{"OUTBOX_MAX_EVENT_BYTES=64MiB"}

// interrupted is the program, which is told to end at some moment of its work on a large list.
type interrupted struct {
	t  *testing.T
	db string // with the first version
}

// with starts the program, and tells it to end when at returns. The state is then the old or the new one.
func (i *interrupted) with(args []string, stdin *os.File, at func()) {
	i.t.Helper()
	cmd := program(i.t, append(roomy, "MATCHRELAY_DB="+i.db, "REDIS_URL=redis://127.0.0.1:1"), args...)
	var stderr bytes.Buffer
	cmd.Stderr, cmd.Stdin = &stderr, stdin
	require.NoError(i.t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	at()
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(redistest.Patience):
		_ = cmd.Process.Kill()
		i.t.Fatal("it does not end")
	}
	require.Contains(i.t, []int{0, 1}, cmd.ProcessState.ExitCode(), stderr.String())
	require.NotContains(i.t, stderr.String(), "goroutine ")
	require.NotContains(i.t, stderr.String(), "Storgatan")

	env := append(roomy, "MATCHRELAY_DB="+i.db)
	runOK(i.t, env, "check") // the state equals the newest update
	updates := strings.Count(runOK(i.t, env, "events", "list", "--topic", schema.TypeMatchUpdates, "-o", "jsonl"), "\n")
	require.Contains(i.t, []int{1, 2}, updates)
	last := runOK(i.t, env, "matches", "show", fmt.Sprint(matchesOfLarge), "--raw", "-o", "json")
	require.Contains(i.t, last, fmt.Sprintf("070-%07d", updates), "version 1 or 2")
}

func TestSIGTERM_WhileALargeListIsRecordedLeavesTheOldStateOrTheNewOne(t *testing.T) {
	t.Parallel()
	next := largeList(2)
	dir := t.TempDir()
	template := filepath.Join(dir, "template.db")
	file := func(name string, list []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, list, 0o600))
		return path
	}
	runOK(t, append(roomy, "MATCHRELAY_DB="+template), "ingest", file("old.json", largeList(1)))
	fresh := func(t *testing.T) *interrupted {
		copied, err := os.ReadFile(template)
		require.NoError(t, err)
		i := &interrupted{t, filepath.Join(t.TempDir(), "test.db")}
		require.NoError(t, os.WriteFile(i.db, copied, 0o600))
		return i
	}

	t.Run("while a URL sends it", func(t *testing.T) {
		for _, args := range [][]string{{"run", "--source"}, {"ingest"}} {
			half := make(chan struct{})
			source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = w.Write(next[:len(next)/2])
				_ = http.NewResponseController(w).Flush()
				close(half)
				<-r.Context().Done() // the program has gone
			}))
			fresh(t).with(append(args, source.URL), nil, func() { <-half })
			source.Close()
		}
	})
	t.Run("once a URL has sent it", func(t *testing.T) {
		for _, args := range [][]string{{"run", "--source"}, {"ingest"}} {
			sent := make(chan struct{})
			source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write(next)
				_ = http.NewResponseController(w).Flush()
				close(sent)
			}))
			fresh(t).with(append(args, source.URL), nil, func() { <-sent })
			source.Close()
		}
	})
	t.Run("once a pipe has given it", func(t *testing.T) {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		fresh(t).with([]string{"ingest", "-"}, r, func() {
			require.NoError(t, r.Close())
			_, err := w.Write(next)
			require.NoError(t, err)
			require.NoError(t, w.Close())
		})
	})
	t.Run("once the outbox file changes", func(t *testing.T) {
		for _, args := range [][]string{{"run", "--source"}, {"ingest"}} {
			i := fresh(t)
			before, err := os.Stat(i.db)
			require.NoError(t, err)
			i.with(append(args, file("next.json", next)), nil, func() {
				eventually(t, "something is written", func() bool {
					now, err := os.Stat(i.db)
					return err == nil && now.ModTime() != before.ModTime()
				})
			})
		}
	})
}
