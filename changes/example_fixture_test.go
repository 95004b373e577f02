package changes_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/PitchConnect/matchrelay/integration_test/program"
	"github.com/PitchConnect/matchrelay/schema"
)

// What the examples of the three ways to integrate share: a Redis, a subscriber, and the program in a process of its own.

// channels are where each topic goes: the defaults of the program, too.
var channels = map[string]string{
	schema.TypeMatchUpdates:     "fogis:matches:updates",
	schema.TypeProcessingStatus: "fogis:processor:status",
	schema.TypeSystemAlert:      "fogis:system:alerts",
}

// minReceivers has events wait until the subscriber is there. The program reads it from RELAY_MIN_RECEIVERS.
var minReceivers = map[string]int{schema.TypeMatchUpdates: 1, schema.TypeProcessingStatus: 1}

// check ends an example that cannot go on.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

// matchAt is a match list of one match.
func matchAt(kickOff string) []schema.Match {
	list, err := schema.DecodeMatches(strings.NewReader(
		`[{"matchid": 1, "lag1namn": "A", "lag2namn": "B", "speldatum": "2030-05-06", "avsparkstid": "` + kickOff + `"}]`))
	check(err)
	return list
}

// place is where an example takes place: an embedded Redis, a subscriber to all channels, and a folder whose path is short
// enough for a unix socket.
type place struct {
	redis        *miniredis.Miniredis
	client       *redis.Client
	subscription *redis.PubSub
	folder       string
	relay        *exec.Cmd // while it runs
}

func newPlace() *place {
	server, err := miniredis.Run()
	check(err)
	folder, err := os.MkdirTemp("", "mr")
	check(err)
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	subscription := client.Subscribe(context.Background())
	for _, topic := range []string{schema.TypeMatchUpdates, schema.TypeProcessingStatus, schema.TypeSystemAlert} {
		check(subscription.Subscribe(context.Background(), channels[topic]))
		_, err := subscription.Receive(context.Background()) // it is confirmed
		check(err)
	}
	return &place{redis: server, client: client, subscription: subscription, folder: folder}
}

func (p *place) close() {
	if p.relay != nil { // the example has panicked
		_ = p.relay.Process.Kill()
	}
	check(errors.Join(p.subscription.Close(), p.client.Close(), os.RemoveAll(p.folder)))
	p.redis.Close()
}

// db is the path of the outbox file.
func (p *place) db() string { return filepath.Join(p.folder, "matchrelay.db") }

// hear prints the next n messages in short, first those of match updates and then the others: the order between topics is
// nobody's promise.
func (p *place) hear(n int) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var updates, others []string
	for range n {
		received, err := p.subscription.ReceiveMessage(ctx)
		check(err)
		message, err := schema.Decode([]byte(received.Payload))
		check(err)
		if message.Type != schema.TypeMatchUpdates {
			status, err := message.Status()
			check(err)
			others = append(others, fmt.Sprintf("%s: %s", message.Type, status.State))
			continue
		}
		update, err := message.MatchUpdate()
		check(err)
		if len(update.Changes) == 0 {
			updates = append(updates, fmt.Sprintf("match_updates: the whole list (%d), no changes", len(update.Matches)))
		}
		for _, change := range update.Changes {
			updates = append(updates, "match_updates: "+change.Description)
		}
	}
	for _, line := range append(updates, others...) {
		fmt.Println(line)
	}
}

// environ is an environment of the program, and of a processor that takes its settings from there.
func (p *place) environ(more ...string) []string {
	return append([]string{
		"MATCHRELAY_DB=" + p.db(),
		"REDIS_URL=redis://" + p.redis.Addr(),
		"RELAY_MIN_RECEIVERS=match_updates=1,processing_status=1",
	}, more...)
}

// startRelay runs `matchrelay relay`, the real program, until stopRelay.
func (p *place) startRelay(environ []string) {
	path, err := program.Path()
	check(err)
	p.relay = exec.Command(path, "relay")
	p.relay.Dir = p.folder // no .env of yours
	p.relay.Env = environ
	check(p.relay.Start())
}

func (p *place) stopRelay() {
	check(errors.Join(p.relay.Process.Signal(syscall.SIGTERM), p.relay.Wait()))
	p.relay = nil
}
