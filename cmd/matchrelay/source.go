package main

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/schema"
)

// source is where match lists come from.
type source interface {
	// fetch gets the current list. A list that cannot be had, or is no list, is an error, never an empty list.
	fetch(ctx context.Context) ([]schema.Match, error)
	// wait returns when it is time for the next cycle: after interval at the latest, or when ctx ends.
	wait(ctx context.Context, interval time.Duration)
	// String names the source without credentials.
	String() string
}

// newSource makes the source that --source names, a file or a URL; "" is the one of the configuration.
func newSource(name string, cfg *config.Config) (source, error) {
	if name == "" {
		name = string(cfg.Processor.MatchesURL)
	}
	scheme, _, found := strings.Cut(name, "://")
	if !found {
		return &fileSource{path: name}, nil
	}
	u, err := url.Parse(name)
	if err != nil || scheme != "http" && scheme != "https" || u.Hostname() == "" { // not wrapped: it quotes the password
		return nil, usageError(errSource)
	}
	return &urlSource{url: u, timeout: fetchTimeout}, nil
}

// sleep waits for a time, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
