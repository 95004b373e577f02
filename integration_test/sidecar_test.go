package integration_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/changes/api"
	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/relay/control"
)

const httpToken = "0123456789abcdef-hidden"

// freePort is one that nobody listens to, most likely also a moment later.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

const (
	sidecarList   = `[{"matchid":1,"speldatum":"2030-01-02", "x":"<&>"}]`
	sidecarStatus = `{"status":"started","cycle_number":1,"processing_duration_ms":0,"matches_processed":0,"errors":[],"details":{"é":"\u2028"}}`
)

func TestAPythonProcessorHandsOverItsListsAndEvents(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"the socket", "a port"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			addr := freePort(t)
			d := newDaemon(t, "MATCHRELAY_HTTP_ADDR="+addr, "MATCHRELAY_HTTP_TOKEN="+httpToken)
			d.start()
			python := func(list string, args ...string) result {
				args = append([]string{"-"}, args...)
				if way == "a port" {
					args = append(args, "--address", addr)
				}
				return d.python(list, []string{"MATCHRELAY_HTTP_TOKEN=" + httpToken}, args...)
			}
			const at = "2025-09-21T10:30:00+02:00"
			first := python(sidecarList, "--fetched-at", at)
			require.Zero(t, first.code, first.stderr)
			require.Contains(t, first.stdout, `"new": 1,`)
			require.Equal(t, first, python(sidecarList, "--fetched-at", at), "the same list of the same moment has the same key")
			require.Equal(t, result{0, "", "a newer list is recorded already\n"}, python(`[{"matchid":2}]`, "--fetched-at", "2025-09-21T10:29:59+02:00"))

			mine := python(`[{"matchid":2}]`, "--key", "mine", "--fetched-at", at)
			require.Zero(t, mine.code, mine.stderr)
			for _, tt := range []struct{ list, says string }{{"[]", "(422 empty_list)"}, {"no list", "(400 invalid_list)"}} {
				r := python(tt.list)
				require.Equal(t, 1, r.code)
				require.Contains(t, r.stderr, tt.says)
			}
			r := python(`[{"matchid":3}]`, "--key", "mine", "--fetched-at", at)
			require.Equal(t, 1, r.code)
			require.Contains(t, r.stderr, "(422 key_reused)")

			event := python(sidecarStatus, "--event", "processing_status")
			require.Zero(t, event.code, event.stderr)
			require.Contains(t, event.stdout, `{"sequences": [3], "message_id": "`)
			require.Equal(t, event, d.python(sidecarStatus, nil, "-", "--event", "processing_status"), "the port and the socket know the same keys")
			gone := python("[]", "--allow-empty")
			require.Contains(t, gone.stdout, `"removed": 1,`, gone.stderr)
			for _, env := range [][]string{nil, {"MATCHRELAY_HTTP_TOKEN=0123456789abcdef-wrong"}} {
				r := d.python(sidecarList, env, "-", "--address", addr)
				require.Equal(t, 1, r.code)
				require.Contains(t, r.stderr, "(401 unauthorized)")
			}

			stored := d.payloads()
			require.Len(t, stored, 4)
			require.Contains(t, stored[0], `"matches":`+sidecarList, "byte for byte")
			require.Contains(t, stored[2], `"details": {"\u00e9": "\u2028"}`)
			require.NotContains(t, d.log.String(), "hidden")
			require.NotContains(t, d.log.String(), "matchid")
		})
	}
}

// TestAnAnswerThatNeverCameIsTheSameOnTheRetry kills the program when it has committed and answered, but keeps the answer
// from the client: as if it had died in between.
func TestAnAnswerThatNeverCameIsTheSameOnTheRetry(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start()
	front, err := net.Listen("unix", d.db+".front")
	require.NoError(t, err)
	defer front.Close()
	python := make(chan result)
	go func() { python <- d.python(sidecarList, nil, "-", "--socket", d.db+".front") }()
	var answers []string
	for range 2 {
		client, err := front.Accept()
		require.NoError(t, err)
		answer, err := forward(client, d.socket())
		require.NoError(t, err)
		answers = append(answers, answer)
		if len(answers) == 1 {
			d.end(syscall.SIGKILL)
			d.start()
		} else {
			_, err = client.Write([]byte(answer))
			require.NoError(t, err)
		}
		require.NoError(t, client.Close())
	}
	r := <-python
	require.Zero(t, r.code, r.stderr)
	require.Contains(t, r.stdout, `"new": 1,`)
	require.Contains(t, r.stdout, `"sequences": [1]`)
	_, lost, _ := strings.Cut(answers[0], "\r\n\r\n")
	head, given, _ := strings.Cut(answers[1], "\r\n\r\n")
	require.Equal(t, lost, given, "byte for byte")
	require.Contains(t, head, "Idempotency-Replayed: true")
	require.Len(t, d.payloads(), 1)
}

// forward passes one request on and returns the answer as it came.
func forward(client net.Conn, socket string) (answer string, err error) {
	server, err := net.Dial("unix", socket)
	if err != nil {
		return "", err
	}
	defer server.Close()
	go func() { _, _ = io.Copy(server, client) }()
	var b bytes.Buffer
	for { // http.client keeps its side open: the answer ends with its body
		part := make([]byte, 64<<10)
		n, err := server.Read(part)
		b.Write(part[:n])
		if head, body, found := strings.Cut(b.String(), "\r\n\r\n"); found && strings.Contains(head, fmt.Sprint("Content-Length: ", len(body))) {
			return b.String(), nil
		}
		if err != nil {
			return b.String(), err
		}
	}
}

// TestEachKeyCountsOnceHoweverOftenTheProgramIsKilled lets clients post without a pause while the program is killed again and
// again. Each repeats a request until it is answered.
func TestEachKeyCountsOnceHoweverOftenTheProgramIsKilled(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	d.start()
	web := &http.Client{Timeout: redistest.Patience, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", d.socket())
		}}}
	post := func(key string) (answer string, replayed bool) {
		body := `{"type":"system_alert","payload":{"alert_type":"x","severity":"info","message":"` + key + `","details":{}}}`
		for until := time.Now().Add(redistest.Patience); time.Now().Before(until); <-time.After(time.Millisecond) {
			r, err := http.NewRequest("POST", "http://localhost/v1/events", strings.NewReader(body))
			if err != nil {
				break
			}
			r.Header.Set("Idempotency-Key", key)
			response, err := web.Do(r)
			if err != nil {
				continue
			}
			b, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err == nil && response.StatusCode == 200 {
				return string(b), response.Header.Get("Idempotency-Replayed") == "true"
			}
		}
		t.Errorf("%s is never answered", key)
		return "", false
	}
	var mu sync.Mutex
	answers, repeats := map[string]string{}, 0
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for c := range 8 {
		clients.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				key := fmt.Sprintf("client %d, request %d;", c, n)
				answer, replayed := post(key)
				if n%5 == 0 {
					if again, known := post(key); again != answer || !known {
						t.Errorf("%s: %q, then %q", key, answer, again)
					}
				}
				mu.Lock()
				answers[key] = answer
				if replayed {
					repeats++
				}
				mu.Unlock()
			}
		})
	}
	for i := range 12 {
		<-time.After(time.Duration(50+17*i) * time.Millisecond)
		d.end(syscall.SIGKILL)
		d.start()
	}
	stop()
	clients.Wait()
	stored := d.payloads()
	require.Len(t, stored, len(answers), "one event for each key")
	for key, answer := range answers {
		var p api.Posted
		require.NoError(t, json.Unmarshal([]byte(answer), &p), key)
		require.Len(t, p.Sequences, 1)
		payload := stored[p.Sequences[0]-1]
		require.Contains(t, payload, `"`+key+`"`)
		require.Contains(t, payload, p.MessageID)
	}
	t.Logf("%d keys, %d of which were committed by a process that was killed before it answered", len(answers), repeats)
}

func TestAPortThatCannotBeHadEndsTheProgram(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	d := newDaemon(t)
	require.NoError(t, openBox(t, d.db).Close())
	env := append(d.env, "MATCHRELAY_HTTP_ADDR="+taken.Addr().String(), "MATCHRELAY_HTTP_TOKEN="+httpToken)
	for _, args := range [][]string{{"relay"}, {"relay", "--until-empty"}, {"run", "--source", "list.json"}, {"run", "--once", "--source", "list.json"}} {
		r := run(t, env, args...)
		require.Equal(t, 1, r.code, r.stderr)
		require.Contains(t, r.stderr, "MATCHRELAY_HTTP_ADDR: listen tcp "+taken.Addr().String()+": bind: address already in use; another program listens there: stop it, or set another port, or off")
		require.NotContains(t, r.stderr, "hidden")
	}
	require.Empty(t, d.payloads(), "nothing was done without the API")
}

func TestAFullDiskIsAnswered507AndTheRetryAfterwardsCountsOnce(t *testing.T) {
	dir := smallDisk(t, "4")
	box := openBox(t, filepath.Join(dir, "test.db"))
	recorder, err := changes.NewRecorder(box, changes.Options{})
	require.NoError(t, err)
	serving, stop := context.WithCancel(context.Background())
	var served sync.WaitGroup
	served.Go(func() {
		_ = control.Serve(serving, control.Options{Outbox: box, Routes: api.Routes(recorder, api.Options{})})
	})
	defer served.Wait()
	defer stop()
	d := &daemon{t: t, db: box.Path()}
	eventually(t, "the socket is there", func() bool {
		_, err := os.Stat(d.socket())
		return err == nil
	})
	first := d.python(sidecarStatus, nil, "-", "--event", "processing_status")
	require.Zero(t, first.code, first.stderr)
	ballast := fill(t, dir)
	lists := func(n int) string {
		noise := make([]byte, 200_000)
		_, _ = rand.Read(noise) // never fails
		return fmt.Sprintf(`[{"matchid":%d,"x":"%x"}]`, n, noise)
	}
	full := false
	for n := 1; !full; n++ { // until what is free within the file is used up
		r := d.python(lists(n), nil, "-", "--give-up-after", "0", "--key", fmt.Sprint(n))
		full = r.code != 0
		require.True(t, !full || strings.Contains(r.stderr, "(507 disk_full)"), r.stderr)
	}
	again := d.python(sidecarStatus, nil, "-", "--event", "processing_status")
	require.Equal(t, first, again, "what was answered once needs no room")
	require.NoError(t, os.Remove(ballast))
	last := d.python(lists(99), nil, "-", "--key", "99")
	require.Zero(t, last.code, last.stderr)
	requireSound(t, box)
}
