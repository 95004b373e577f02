package relay

import (
	"context"
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
	reply, err := readReply(answer("ERR", "42", "id", "run", int64(3), int64(2), "OOM", "43", "next", "40", "41"))
	require.NoError(t, err)
	require.Equal(t, Reply{Outcome: Refused, Mark: outbox.Mark{Sequence: 42, MessageID: "id"},
		Added: outbox.Mark{Sequence: 43, MessageID: "next"}, Run: "run", Receivers: 3,
		Published: 2, Unheard: []uint64{40, 41}, Err: scriptError("OOM")}, reply)

	text := redis.NewCmd(context.Background())
	text.SetVal("OK")
	for name, cmd := range map[string]*redis.Cmd{
		"no list":                       text,
		"too short":                     answer("OK", "42", "id", "run", int64(3), int64(2), "", "0"),
		"a number that is none":         answer("OK", "x", "id", "run", int64(3), int64(2), "", "0", ""),
		"a text that is none":           answer("OK", "1", nil, "run", int64(3), int64(2), "", "0", ""),
		"a list for a number":           answer("OK", []any{}, "id", "run", int64(3), int64(2), "", "0", ""),
		"an unheard event that is none": answer("OK", "42", "id", "run", int64(3), int64(2), "", "0", "", "forty"),
	} {
		_, err := readReply(cmd)
		require.Error(t, err, name)
	}
}

func FuzzAnswersOfTheScript(f *testing.F) {
	f.Add("OK", "42", "id", int64(3), "", "41")
	f.Add("", "-1", "", int64(-1), "OOM", "")
	f.Fuzz(func(t *testing.T, status, seq, id string, receivers int64, text, unheard string) {
		cmd := redis.NewCmd(context.Background())
		cmd.SetVal([]any{status, seq, id, "run", receivers, int64(0), text, "0", "", unheard})
		if reply, err := readReply(cmd); err == nil {
			require.Equal(t, Outcome(status), reply.Outcome)
			require.Len(t, reply.Unheard, 1)
		}
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
		MaxRetries: DefaultMaxRetries, HealthInterval: DefaultHealthInterval, StreamMaxLen: DefaultStreamMaxLen, Source: "matchrelay",
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
