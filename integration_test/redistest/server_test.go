package redistest

import (
	"bufio"
	"context"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAServerKeepsWhatItsPersistenceSays(t *testing.T) {
	ctx := context.Background()
	for _, tt := range []struct {
		name        string
		persistence Persistence
		end         func(*Server)
		want        int64
	}{
		{"none, killed: nothing", "", (*Server).Kill, 0},
		{"none, shut down: nothing", None, (*Server).Shutdown, 0},
		{"AOF, killed: all", AOF, (*Server).Kill, 1},
		{"RDB, shut down: all", RDB, (*Server).Shutdown, 1},
		{"RDB, killed before a save: nothing", RDB, (*Server).Kill, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := Start(t, Options{Persistence: tt.persistence, Config: []string{"maxclients 17"}})
			require.NoError(t, s.Client().Set(ctx, "k", "v", 0).Err())
			require.Equal(t, "17", s.Client().ConfigGet(ctx, "maxclients").Val()["maxclients"])

			tt.end(s)
			_, err := net.Dial("tcp", s.Addr())
			require.Error(t, err)
			tt.end(s) // twice is harmless

			s.Start()
			require.Equal(t, tt.want, s.Client().Exists(ctx, "k").Val(), "same port, same folder")
			require.Contains(t, s.Log(), "Ready to accept connections")
			require.DirExists(t, s.Dir())
			require.Contains(t, s.URL(), s.Addr())
		})
	}
}

func TestAFrozenServerAnswersAfterItThaws(t *testing.T) {
	s := Start(t, Options{})
	client := s.Client()
	require.NoError(t, client.Ping(context.Background()).Err())
	s.Freeze()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, client.Ping(ctx).Err(), os.ErrDeadlineExceeded)
	s.Thaw()
	require.NoError(t, client.Ping(context.Background()).Err())
	s.Freeze() // cleanup kills a frozen one, too
}

func TestASubscriberKeepsEveryMessageInOrderAndComesBack(t *testing.T) {
	ctx := context.Background()
	s := New(t, Options{})
	sub := Subscribe(t, s.Addr(), SubscriberOptions{Channels: []string{"a", "b"}})
	sub.Cut() // not connected yet: nothing to cut
	s.Start()
	sub.WaitSubscribed(1)

	client := s.Client()
	large := strings.Repeat("å\r\n", 100_000)
	for _, m := range []struct{ channel, payload string }{{"a", "1"}, {"b", "2"}, {"a", ""}, {"b", large}} {
		require.EqualValues(t, 1, client.Publish(ctx, m.channel, m.payload).Val())
	}
	got := sub.WaitFor(4)
	require.Equal(t, []string{"1", "2", "", large}, payloads(got))
	require.Equal(t, []string{"2", large}, payloads(sub.Messages("b")))
	require.Empty(t, sub.Messages("c"))
	require.WithinDuration(t, time.Now(), got[0].At, Patience)

	sub.Cut()
	sub.WaitSubscribed(2)
	client.Publish(ctx, "a", "after the cut")
	require.Equal(t, 2, sub.WaitFor(5)[4].Connection)

	s.Kill()
	s.Start()
	sub.WaitSubscribed(3)
	s.Client().Publish(ctx, "a", "after the restart")
	require.Equal(t, "after the restart", string(sub.WaitFor(6)[5].Payload))

	sub.Close()
	sub.Close()
	require.Len(t, sub.Messages(), 6)
}

func payloads(messages []Message) []string {
	var out []string
	for _, m := range messages {
		out = append(out, string(m.Payload))
	}
	return out
}

func TestReadReplyRefusesWhatASubscriberNeverGets(t *testing.T) {
	for _, in := range []string{"", "+OK\r\n", "*x\r\n", "*1\r\n", "*1\r\n$-1\r\n", "*1\r\n$5\r\nab\r\n", "*1\r\n+OK\r\n", "*1\r\n$x\r\n"} {
		_, err := readReply(bufio.NewReader(strings.NewReader(in)))
		require.Error(t, err, "%q", in)
	}
}
