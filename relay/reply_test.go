package relay

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/outbox"
)

func TestAnswersOfTheScript(t *testing.T) {
	answer := func(values ...any) *redis.Cmd {
		cmd := redis.NewCmd(context.Background())
		cmd.SetVal(values)
		return cmd
	}
	reply, err := readReply(answer("ERR", "42", "id", "c0ffee", int64(3), int64(2), "OOM", "43", "next", "40", "41"))
	require.NoError(t, err)
	require.Equal(t, Reply{Outcome: Refused, Mark: outbox.Mark{Sequence: 42, MessageID: "id"},
		Added: outbox.Mark{Sequence: 43, MessageID: "next"}, Run: "c0ffee", Receivers: 3,
		Published: 2, Unheard: []uint64{40, 41}, Err: scriptError("OOM")}, reply)

	_, err = readReply(answer("OK", "0", "", "C0FFEE", int64(0), int64(0), "", "0", ""))
	require.NoError(t, err, "a run_id in capitals, which Redis itself does not have")

	text := redis.NewCmd(context.Background())
	text.SetVal("OK")
	for name, cmd := range map[string]*redis.Cmd{
		"no list":                       text,
		"too short":                     answer("OK", "42", "id", "c0ffee", int64(3), int64(2), "", "0"),
		"a number that is none":         answer("OK", "x", "id", "c0ffee", int64(3), int64(2), "", "0", ""),
		"a text that is none":           answer("OK", "1", nil, "c0ffee", int64(3), int64(2), "", "0", ""),
		"a list for a number":           answer("OK", []any{}, "id", "c0ffee", int64(3), int64(2), "", "0", ""),
		"an unheard event that is none": answer("OK", "42", "id", "c0ffee", int64(3), int64(2), "", "0", "", "forty"),
		"an outcome that is none":       answer("WELL", "42", "id", "c0ffee", int64(3), int64(2), "", "0", ""),
		"an error without its text":     answer("ERR", "42", "id", "c0ffee", int64(3), int64(2), "", "0", ""),
		"a text without its error":      answer("OK", "42", "id", "c0ffee", int64(3), int64(2), "OOM", "0", ""),
		"a sequence below zero":         answer("LOST", "-1", "id", "c0ffee", int64(3), int64(2), "", "0", ""),
		"a sequence beyond 2^53":        answer("LOST", "9007199254740992", "id", "c0ffee", int64(3), int64(2), "", "0", ""),
		"the largest sequence":          answer("LOST", "9223372036854775807", "id", "c0ffee", int64(3), int64(2), "", "0", ""),
		"a sequence without an ID":      answer("LOST", "42", "", "c0ffee", int64(3), int64(2), "", "0", ""),
		"an ID without a sequence":      answer("LOST", "0", "id", "c0ffee", int64(3), int64(2), "", "0", ""),
		"an ID that is too long":        answer("LOST", "42", strings.Repeat("x", 65), "c0ffee", int64(3), int64(2), "", "0", ""),
		"an ID that is not printable":   answer("LOST", "42", "a\x1b", "c0ffee", int64(3), int64(2), "", "0", ""),
		"an ID of the stream like that": answer("LOST", "42", "id", "c0ffee", int64(3), int64(2), "", "43", "a b"),
		"a run that is too long":        answer("OK", "42", "id", strings.Repeat("f", 1<<20), int64(3), int64(2), "", "0", ""),
		"a run that is none":            answer("OK", "42", "id", "run", int64(3), int64(2), "", "0", ""),
		"fewer subscribers than none":   answer("OK", "42", "id", "c0ffee", int64(-2), int64(2), "", "0", ""),
		"more than there can be":        answer("OK", "42", "id", "c0ffee", int64(1<<40), int64(2), "", "0", ""),
		"less published than nothing":   answer("OK", "42", "id", "c0ffee", int64(3), int64(-1), "", "0", ""),
		"an unheard event before all":   answer("OK", "42", "id", "c0ffee", int64(3), int64(2), "", "0", "", "0"),
		"too much unheard":              answer(append([]any{"OK", "42", "id", "c0ffee", int64(3), int64(2), "", "0", ""}, make([]any, maxUnheard+1)...)...),
	} {
		_, err := readReply(cmd)
		require.Error(t, err, name)
		f := classify(err)
		require.Equal(t, Outage, f.class, name)
		require.Equal(t, mendStrange, f.mend, name)
		require.False(t, f.suspect, name)
	}
	nothing := redis.NewCmd(context.Background())
	nothing.SetErr(redis.Nil)
	_, err = readReply(nothing)
	require.Equal(t, failure{class: Outage, mend: mendStrange, err: redis.Nil}, classify(err))
}

func TestEntriesOfAStreamThatTheScriptLists(t *testing.T) {
	event := func(id string) []string { return []string{id, "o", "7", "m"} }
	list, err := readEntries(slices.Concat(event("12-0"), event("9-3"), []string{"9-2", "", "", ""}, []string{"9-1", "o", "-1", "m"},
		[]string{"9-0", "o", "9007199254740992", "m"}, []string{"8-0", "o", "7", "a b"}), "100-0")
	require.NoError(t, err)
	own := outbox.Mark{Sequence: 7, MessageID: "m"}
	require.Equal(t, []Entry{{"12-0", "o", own}, {"9-3", "o", own}, {ID: "9-2"}, {ID: "9-1", Origin: "o"}, {ID: "9-0", Origin: "o"}, {ID: "8-0", Origin: "o"}}, list,
		"what is no event has no mark")
	for name, values := range map[string][]string{
		"a value too few":        event("1-0")[:3],
		"an ID that is none":     event("1"),
		"no ID":                  event(""),
		"an ID with more to it":  event("1-0\n"),
		"entries from below":     slices.Concat(event("1-0"), event("1-1")),
		"the same entry again":   slices.Concat(event("1-0"), event("1-0")),
		"what was listed before": event("100-0"),
		"too many":               slices.Repeat(event("1-0"), batchEvents+1),
	} {
		_, err := readEntries(values, "100-0")
		require.Error(t, err, name)
		require.Equal(t, mendStrange, classify(err).mend, name)
	}
}

func FuzzAnswersOfTheScript(f *testing.F) {
	f.Add("OK", "42", "id", "c0ffee", int64(3), "", "41")
	f.Add("", "-1", "", "run", int64(-1), "OOM", "")
	f.Add("ERR", "9007199254740991", "id", "", int64(-1), "OOM", "1")
	f.Fuzz(func(t *testing.T, status, seq, id, run string, receivers int64, text, unheard string) {
		cmd := redis.NewCmd(context.Background())
		cmd.SetVal([]any{status, seq, id, run, receivers, int64(0), text, "0", "", unheard})
		reply, err := readReply(cmd)
		if err != nil {
			require.Equal(t, Reply{}, reply)
			return
		}
		require.Contains(t, []Outcome{OK, TooFew, Lost, Gone, OtherRun, Refused}, reply.Outcome)
		require.LessOrEqual(t, reply.Mark.Sequence, uint64(maxSequence))
		require.LessOrEqual(t, len(reply.Mark.MessageID), 64)
		require.LessOrEqual(t, len(reply.Run), 64)
		require.GreaterOrEqual(t, reply.Receivers, -1)
		require.Len(t, reply.Unheard, 1)
	})
}

func TestATargetHasATimeLimitEvenIfNoneIsGiven(t *testing.T) {
	require.Equal(t, defaultTimeout, NewRedis(nil, 0).timeout)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := NewRedis(nil, -1).deadline(context.Background(), 3<<20, time.Second)
		defer cancel()
		deadline, ok := ctx.Deadline()
		require.True(t, ok)
		require.Equal(t, defaultTimeout+4*time.Second, time.Until(deadline), "a second more for each megabyte, and what it waits for")
	})
}

func TestOptionsThatAreNotSet(t *testing.T) {
	want := Options{RejoinWait: DefaultRejoinWait, RetryDelay: DefaultRetryDelay, RetryMaxDelay: DefaultRetryMaxDelay,
		MaxRetries: DefaultMaxRetries, HealthInterval: DefaultHealthInterval, StreamMaxLen: DefaultStreamMaxLen, StreamMaxUnread: DefaultStreamMaxUnread,
		Source:      "matchrelay",
		WaitTimeout: DefaultWaitTimeout, MaxBuffer: DefaultMaxBuffer, BytesPerSecond: DefaultBytesPerSecond}
	got := Options{}.withDefaults()
	require.NotNil(t, got.Logger)
	got.Logger = nil
	require.Equal(t, want, got)

	got = Options{RejoinWait: -1, RetryDelay: -1, RetryMaxDelay: -1, MaxRetries: -1, HealthInterval: -1, StreamMaxLen: -1,
		WaitTimeout: -1, MaxBuffer: -1, BytesPerSecond: -1}.withDefaults()
	got.Logger, want.RejoinWait, want.MaxBuffer = nil, -1, -1
	require.Equal(t, want, got, "below zero is the default, too, but for RejoinWait and MaxBuffer: neither of them at all")
}
