package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/schema"
)

// devKit is what run --dev brings along: Redis, a folder for the outbox, a subscriber.
type devKit struct {
	server *miniredis.Miniredis // nil with --redis-url
	folder string               // removed by close; "" with --db
	stop   context.CancelFunc
	ended  sync.WaitGroup
}

// devPatience is how long the start waits for the subscriber; with --redis-url there may be no Redis yet.
const devPatience = 2 * time.Second

// startDevKit starts what the flags do not name, and sets them. The environment is left out from here on, so that no
// setting of a real deployment gets in.
func (a *app) startDevKit() (*devKit, error) {
	kit := &devKit{stop: func() {}}
	if a.redisURL == "" {
		kit.server = miniredis.NewMiniRedis()
		if err := kit.server.Start(); err != nil {
			return nil, fmt.Errorf("start the embedded redis: %w", err)
		}
		a.redisURL = "redis://" + kit.server.Addr()
	}
	if a.db == "" {
		folder, err := os.MkdirTemp("", "matchrelay-dev-")
		if err != nil {
			kit.close()
			return nil, fmt.Errorf("make a folder for the outbox: %w", err)
		}
		kit.folder, a.db = folder, filepath.Join(folder, "matchrelay.db")
	}
	if a.envFile == "" {
		a.envFile = os.DevNull
	}
	a.environ = slices.DeleteFunc(os.Environ(), func(e string) bool { return !strings.HasPrefix(e, "LOG_LEVEL=") })
	return kit, nil
}

// listen starts a subscriber that prints what it gets, without personal data.
func (k *devKit) listen(a *app, cfg *config.Config) {
	ctx, cancel := context.WithCancel(context.Background())
	k.stop = cancel
	client := newClient(cfg)
	colors := a.colors(a.stdout)
	l := newListener(client, channelsOf(cfg), func(channel string, payload []byte) {
		fmt.Fprintf(a.stdout, "%s %s %-22s %s\n", colors.faint(time.Now().Format(time.TimeOnly)), colors.green("received"),
			oneLine(channel), brief(describe(payload)))
	})
	k.ended.Go(func() {
		l.run(ctx)
		_ = client.Close() // it has no connection any more
	})
	select {
	case <-l.subscribed:
	case <-time.After(devPatience):
	}
}

func (k *devKit) close() {
	k.stop()
	k.ended.Wait()
	if k.server != nil {
		k.server.Close()
	}
	if k.folder != "" {
		_ = os.RemoveAll(k.folder) // a temporary folder: what is left of it harms nobody
	}
}

func channelsOf(cfg *config.Config) []string {
	var channels []string
	for _, topic := range config.Topics {
		channels = append(channels, cfg.Redis.Channels()[topic])
	}
	return channels
}

// describe says in short what a message is, without personal data.
func describe(payload []byte) string {
	m, err := schema.Decode(payload)
	if err != nil {
		return "not a message: " + err.Error()
	}
	text := m.Type
	switch m.Type {
	case schema.TypeMatchUpdates:
		u, err := m.MatchUpdate()
		if err != nil {
			return err.Error()
		}
		text = fmt.Sprintf("%s: %s", count(len(u.Matches), "match"), changesText(u.Changes))
	case schema.TypeProcessingStatus:
		s, err := m.Status()
		if err != nil {
			return err.Error()
		}
		text = fmt.Sprintf("cycle %d %s", s.Cycle, s.State)
	case schema.TypeSystemAlert:
		alert, err := m.Alert()
		if err != nil {
			return err.Error()
		}
		text = fmt.Sprintf("%s: %s", alert.Severity, alert.Type)
	}
	return text + "  " + m.ID
}

// changesText names changes by category and match: "referee change, match 6186203, critical".
func changesText(changes []schema.DetailedChange) string {
	switch len(changes) {
	case 0:
		return "no change"
	case 1:
		c := changes[0]
		return fmt.Sprintf("%s, match %s, %s", strings.ReplaceAll(string(c.Category), "_", " "), c.MatchID, c.Priority)
	}
	kinds := map[schema.Category]bool{}
	for _, c := range changes {
		kinds[c.Category] = true
	}
	if len(kinds) == 1 {
		return fmt.Sprintf("%d x %s", len(changes), strings.ReplaceAll(string(changes[0].Category), "_", " "))
	}
	return fmt.Sprintf("%d changes of %d kinds", len(changes), len(kinds))
}
