package redistest

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, Leaks()...) }

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
	requireTimeOut(t, client.Ping(ctx).Err())
	s.Thaw()
	require.NoError(t, client.Ping(context.Background()).Err())
	s.Freeze() // cleanup kills a frozen one, too
}

func TestNoTwoTestsGetTheSamePort(t *testing.T) {
	port := freePort(t)
	require.False(t, reserve(t, port), "it is taken although nobody listens")
	t.Run("another test", func(t *testing.T) { require.True(t, reserve(t, port+1) || reserve(t, port-1)) })
}

func TestAServerWithATLSPort(t *testing.T) {
	keys := NewTLS(t, true)
	s := Start(t, Options{TLS: keys})
	for _, c := range []struct {
		name   string
		config *tls.Config
		works  bool
	}{
		{"with the certificate", &tls.Config{RootCAs: keys.Pool, Certificates: keys.Pair}, true},
		{"without one", &tls.Config{RootCAs: keys.Pool}, false},
		{"without its authority", &tls.Config{Certificates: keys.Pair}, false},
	} {
		client := redis.NewClient(&redis.Options{Addr: keys.Addr(), TLSConfig: c.config, MaxRetries: -1, DialerRetries: 1})
		err := client.Ping(context.Background()).Err()
		require.Equal(t, c.works, err == nil, "%s: %v", c.name, err)
		require.NoError(t, client.Close())
	}
	require.NoError(t, s.Client().Ping(context.Background()).Err(), "the plain port is there as well")
}
