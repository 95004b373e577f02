package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/PitchConnect/matchrelay/schema"
)

// filePoll is how often a source file is looked at. A stat a second is cheap, and works on every file system.
const filePoll = time.Second

// fileSource is a match list in a file, read again when its size or time of change differ. A program that replaces the
// file should write another one and rename it; one that is caught half-written is a failed cycle, and read again at its
// next change.
type fileSource struct {
	path string
	read stamp // of the file as it was read last
}

type stamp struct {
	size    int64
	changed time.Time
}

// stampOf is the zero stamp for a file that is not there.
func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	return stamp{info.Size(), info.ModTime()}
}

func (s *fileSource) String() string { return s.path }

func (s *fileSource) fetch(context.Context) ([]schema.Match, error) {
	s.read = stampOf(s.path) // before reading: what changes meanwhile is read again
	return readList(s.path)
}

func (s *fileSource) wait(ctx context.Context, interval time.Duration) {
	deadline := time.Now().Add(interval)
	for ctx.Err() == nil && time.Now().Before(deadline) && stampOf(s.path) == s.read {
		sleep(ctx, min(filePoll, time.Until(deadline)))
	}
}

// readList reads one match list from a file.
func readList(path string) ([]schema.Match, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open match list: %w", err)
	}
	defer f.Close()
	matches, err := schema.DecodeMatches(f)
	if err != nil {
		return nil, fmt.Errorf("match list %s: %w", path, err)
	}
	return matches, nil
}
