package redistest

import (
	"context"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"
)

// streamPage is how many entries ReadStream asks for at once.
const streamPage = 1000

// StreamEntry is one entry of a stream, without what the event is about.
type StreamEntry struct {
	Topic     string
	MessageID string
	Origin    string
	Sequence  uint64
	ID        string // of the entry
}

// ReadStream returns the whole stream, in its order; nothing if there is none.
// An entry that is not one of ours fails the test.
func ReadStream(t testing.TB, client redis.Cmdable, key string) []StreamEntry {
	t.Helper()
	var entries []StreamEntry
	for from := "-"; ; {
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		page, err := client.XRangeN(ctx, key, from, "+", streamPage).Result()
		cancel()
		if err != nil {
			t.Fatalf("read the stream %s after %d entries: %v", key, len(entries), err)
		}
		for _, m := range page {
			e, missing := streamEntry(m)
			if missing != "" {
				t.Fatalf("entry %s of the stream %s has no right %s", m.ID, key, missing)
			}
			entries = append(entries, e)
		}
		if len(page) < streamPage {
			return entries
		}
		from = "(" + page[len(page)-1].ID
	}
}

// streamEntry also names the first field that is missing or wrong, or "".
func streamEntry(m redis.XMessage) (e StreamEntry, wrong string) {
	field := func(name string) string {
		value, _ := m.Values[name].(string)
		if value == "" && wrong == "" {
			wrong = name
		}
		return value
	}
	if field("specversion") != "1.0" {
		return e, "specversion"
	}
	e = StreamEntry{Topic: field("type"), MessageID: field("id"), Origin: field("origin"), ID: m.ID}
	sequence := field("sequence")
	for _, name := range []string{"source", "time", "subject", "data"} {
		field(name)
	}
	var err error
	if e.Sequence, err = strconv.ParseUint(sequence, 10, 64); err != nil && wrong == "" {
		wrong = "sequence"
	}
	return e, wrong
}
