package api_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/changes/api"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay/control"
)

// A Go processor serves the API on its control socket, and on a port with a token. Whoever posts to the latter needs nothing
// but HTTP.
func Example() {
	dir, err := os.MkdirTemp("", "mr")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	box, err := outbox.Open(filepath.Join(dir, "matchrelay.db"), outbox.Options{})
	if err != nil {
		panic(err)
	}
	defer box.Close()
	recorder, err := changes.NewRecorder(box, changes.Options{})
	if err != nil {
		panic(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	const token = "a-secret-of-at-least-16-characters"
	routes := api.Routes(recorder, api.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	var served sync.WaitGroup
	served.Go(func() {
		if err := control.Serve(ctx, control.Options{Outbox: box, Routes: routes}); err != nil {
			fmt.Println(err)
		}
	})
	served.Go(func() {
		if err := control.ServeTCP(ctx, control.TCPOptions{Listener: listener, Token: token, Routes: routes}); err != nil {
			fmt.Println(err)
		}
	})

	request, err := http.NewRequest("POST", "http://"+listener.Addr().String()+"/v1/matches?fetched_at=2025-09-21T10:30:00Z",
		strings.NewReader(`[{"matchid":6186203,"speldatum":"2025-05-06"}]`))
	if err != nil {
		panic(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Idempotency-Key", "2025-09-21T10:30:00Z")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(err)
	}
	answer, err := io.ReadAll(response.Body)
	fmt.Print(response.Status, "\n", string(answer), err, "\n")
	_ = response.Body.Close()
	http.DefaultClient.CloseIdleConnections()

	cancel()
	served.Wait() // before the outbox is closed
	// Output:
	// 200 OK
	// {"matches":1,"new":1,"updated":0,"cancelled":0,"removed":0,"changes":1,"change_types":{"new_assignment":1},"high_priority":true,"sequences":[1]}
	// <nil>
}
