package redistest

import (
	"context"
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// fields are those of an entry of a stream of ours, in order.
func fields(topic, id string, sequence int) []any {
	return []any{"specversion", "1.0", "id", id, "source", "/matchrelay", "type", topic, "time", "2026-11-25T21:00:00Z",
		"subject", "ch", "sequence", fmt.Sprint(sequence), "origin", "o", "data", "{}"}
}

func TestReadStreamReadsAllPages(t *testing.T) {
	client := Start(t, Options{}).Client()
	require.Empty(t, ReadStream(t, client, "{ch}:stream"))

	const n = 2 * streamPage // the last page is full, so that one more is asked for
	_, err := client.Pipelined(context.Background(), func(p redis.Pipeliner) error {
		for i := range n {
			values := fields("news", fmt.Sprint("m", i), i+7)
			if i%2 == 0 {
				values = append(values, "dataschema", "s")
			}
			p.XAdd(context.Background(), &redis.XAddArgs{Stream: "{ch}:stream", ID: fmt.Sprint(i+1, "-1"), Values: values})
		}
		return nil
	})
	require.NoError(t, err)
	entries := ReadStream(t, client, "{ch}:stream")
	require.Len(t, entries, n)
	for i, e := range entries {
		require.Equal(t, StreamEntry{Topic: "news", MessageID: fmt.Sprint("m", i), Origin: "o", Sequence: uint64(i + 7),
			ID: fmt.Sprint(i+1, "-1")}, e)
	}
}

func TestAStreamEntryMustBeOneOfOurs(t *testing.T) {
	for _, tt := range []struct{ field, value, want string }{
		{"data", "{}", ""},
		{"specversion", "0.3", "specversion"},
		{"id", "", "id"},
		{"type", "", "type"},
		{"subject", "", "subject"},
		{"origin", "", "origin"},
		{"sequence", "", "sequence"},
		{"sequence", "1e+14", "sequence"},
		{"data", "", "data"},
	} {
		values := map[string]any{}
		for list := fields("news", "m", 1); len(list) > 0; list = list[2:] {
			values[list[0].(string)] = list[1]
		}
		values[tt.field] = tt.value
		_, wrong := streamEntry(redis.XMessage{ID: "1-1", Values: values})
		require.Equal(t, tt.want, wrong, "%s %q", tt.field, tt.value)
	}
}
