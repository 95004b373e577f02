package integration_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
)

// TestPort_LeavesFilesForTheRestWhoeverConnects has a local user without the token connect as often as he can: nothing is said, or a
// wrong token, or half a header.
func TestPort_LeavesFilesForTheRestWhoeverConnects(t *testing.T) {
	t.Parallel()
	for _, files := range []int{64, 256} {
		t.Run(fmt.Sprint(files, " open files"), func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, redistest.Options{})
			sub := redistest.Subscribe(t, server.Addr(), redistest.SubscriberOptions{Channels: []string{"fogis:system:alerts"}})
			sub.WaitSubscribed(1)
			addr := freePort(t)
			d := newDaemon(t, "REDIS_URL="+server.URL(), "MATCHRELAY_HTTP_ADDR="+addr, "MATCHRELAY_HTTP_TOKEN="+httpToken,
				"REDIS_RETRY_DELAY=0.1", "REDIS_RETRY_MAX_DELAY=0.2", "REDIS_HEALTH_CHECK_INTERVAL=0.5", "RELAY_REJOIN_WAIT=1")
			d.files = files
			d.start()

			var crowd sync.WaitGroup
			for i := range 1500 {
				conn, err := net.Dial("tcp", addr)
				require.NoError(t, err)
				t.Cleanup(func() { _ = conn.Close() })
				crowd.Go(func() {
					_, _ = io.WriteString(conn, []string{"", "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer 0123456789abcdef-wrong\r\nContent-Length: 2\r\n\r\n{}",
						"POST /v1/events HTTP/1.1\r\nHost: local"}[i%3])
				})
			}
			crowd.Wait()
			server.Kill()
			server.Start()
			sub.WaitSubscribed(2)

			health := run(t, d.env, "healthcheck")
			require.Zero(t, health.code, health.stderr)
			body := `{"type":"system_alert","payload":{"alert_type":"x","severity":"info","message":"from within","details":{}}}`
			var answer string
			eventually(t, "who has the token is answered", func() bool {
				request, err := http.NewRequest("POST", "http://"+addr+"/v1/events", strings.NewReader(body))
				require.NoError(t, err)
				request.Header.Set("Authorization", "Bearer "+httpToken)
				request.Header.Set("Idempotency-Key", "once")
				response, err := http.DefaultClient.Do(request)
				if err != nil {
					return false // a connection made room
				}
				text, err := io.ReadAll(response.Body)
				_ = response.Body.Close()
				answer = string(text)
				require.Equal(t, http.StatusOK, response.StatusCode, answer)
				return err == nil
			})
			http.DefaultClient.CloseIdleConnections()
			require.Contains(t, answer, `"sequences"`)
			sub.WaitFor(1)
			require.Contains(t, string(sub.Messages()[0].Payload), "from within")
			require.Zero(t, run(t, d.env, "healthcheck").code)
			d.end(syscall.SIGTERM)
			require.NotContains(t, d.log.String(), "too many open files")
		})
	}
}
