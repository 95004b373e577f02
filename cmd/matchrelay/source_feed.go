package main

import (
	"context"
	"time"

	"github.com/PitchConnect/matchrelay/schema"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

// feedPace is the time between two changes of a made-up list.
const feedPace = 3 * time.Second

// feedSource is a made-up list that has changed at every fetch but the first.
type feedSource struct {
	feed    *fogistest.Feed
	changes int // made so far, and the first fetch
	last    fogistest.Change
}

func newFeedSource() *feedSource { return &feedSource{feed: fogistest.New(1, 15, time.Now())} }

func (s *feedSource) String() string { return "a made-up list" }

func (s *feedSource) fetch(context.Context) ([]schema.Match, error) {
	if s.changes > 0 {
		s.last = s.feed.Next(s.changes - 1)
	}
	s.changes++
	return schema.ParseMatches(s.feed.JSON())
}

func (s *feedSource) wait(ctx context.Context, interval time.Duration) {
	sleep(ctx, min(interval, feedPace))
}
