package relay_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/relay"
)

func TestEntriesThatAreNoEvents(t *testing.T) {
	t.Parallel()
	whole := map[string]any{"id": "m-1", "sequence": "1", "origin": originA, "data": ""}
	e, err := relay.ParseEntry(redis.XMessage{ID: "1-0", Values: whole})
	require.NoError(t, err, "no more is needed")
	require.True(t, e.Time.IsZero())
	for _, c := range []struct {
		field string
		value any
	}{
		{"id", nil}, {"id", ""}, {"sequence", nil}, {"sequence", "0"}, {"sequence", "-1"}, {"sequence", "1e3"}, {"sequence", "9007199254740992"},
		{"origin", nil}, {"origin", ""}, {"origin", strings.Repeat("x", 65)}, {"origin", "a\x1b[2J"}, {"id", strings.Repeat("x", 65)}, {"id", "a b"}, {"data", nil},
	} {
		values := map[string]any{c.field: c.value}
		for field, value := range whole {
			if field != c.field {
				values[field] = value
			}
		}
		_, err := relay.ParseEntry(redis.XMessage{ID: "1-0", Values: values})
		require.ErrorContains(t, err, "entry 1-0 is not an event", "%s %v", c.field, c.value)
	}
}

func TestParseEntry_TakesAPredecessorThatIsNoneForUnknown(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]uint64{"4": 4, "0": 0, "": 0, "5": 0, "-1": 0, "1e0": 0, "18446744073709551616": 0} {
		e, err := relay.ParseEntry(redis.XMessage{ID: "1-0", Values: map[string]any{
			"id": "m-5", "sequence": "5", "origin": originA, "predecessor": value, "data": ""}})
		require.NoError(t, err)
		require.Equal(t, want, e.Predecessor, value)
	}
}

func FuzzParseEntry(f *testing.F) {
	f.Add("m-1", "1", originA, "2026-07-01T12:00:00.5Z", "{}")
	f.Add("", "9007199254740992", "", "yesterday", "\x00\xff")
	f.Fuzz(func(t *testing.T, id, sequence, origin, at, data string) {
		e, err := relay.ParseEntry(redis.XMessage{ID: "1-0", Values: map[string]any{
			"id": id, "sequence": sequence, "origin": origin, "time": at, "data": data}})
		if err != nil {
			require.Zero(t, e)
			require.NotContains(t, err.Error(), "\x00")
			return
		}
		n, err := strconv.ParseUint(sequence, 10, 53)
		require.NoError(t, err)
		require.NotZero(t, n)
		require.Equal(t, []any{id, n, origin, data}, []any{e.MessageID, e.Sequence, e.Origin, string(e.Payload)})
	})
}

// BenchmarkParseEntry reads the event of a usual match list (some 60 matches, 300 KB), one of a tenth and one of ten times its size.
func BenchmarkParseEntry(b *testing.B) {
	for _, size := range []int{30_000, 300_000, 3_000_000} {
		b.Run("bytes="+strconv.Itoa(size), func(b *testing.B) {
			m := redis.XMessage{ID: "1-0", Values: map[string]any{"id": "m-1", "type": "match_updates", "sequence": "1", "origin": originA,
				"time": "2026-07-01T12:00:00.5Z", "data": strings.Repeat("x", size)}}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				_, err := relay.ParseEntry(m)
				require.NoError(b, err)
			}
		})
	}
}
