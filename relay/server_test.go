package relay_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// least are the rights without which nothing works, optional those to notice restarts and to count subscribers.
var (
	least    = []any{"reset", "on", ">pw", "~matchrelay:*", "&test:*", "-@all", "+hello", "+evalsha", "+script|load", "+hmget", "+hset", "+expire", "+publish"}
	optional = []any{"+info", "+pubsub|numsub"}
)

// as lets the rig's relay log in as a user with the given rights.
func (r *rig) as(rights ...any) relay.Target {
	r.t.Helper()
	admin := r.server.Client()
	require.NoError(r.t, admin.Do(context.Background(), append([]any{"ACL", "SETUSER", "relay"}, rights...)...).Err())
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{r.server.Addr()}, Username: "relay", Password: "pw"})
	r.t.Cleanup(func() { require.NoError(r.t, client.Close()) })
	return relay.NewRedis(client, time.Second)
}

func TestAUserWithTheLeastRights(t *testing.T) {
	t.Parallel()
	t.Run("with the optional ones everything works", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, redistest.Options{})
		r.server.Start()
		opts := quick()
		opts.MinReceivers = map[string]int{"news": 1}
		r.startTarget(opts, r.as(append(least, optional...)...))
		r.add("news", 5)
		eventually(t, "it is held", func() bool { return r.relay.Health().Topics["news"].State == relay.Held })
		sub := r.subscribe(redistest.SubscriberOptions{})
		sub.WaitFor(5)
		r.waitDelivered("news")
		require.NoError(t, r.server.Client().Do(context.Background(), "DEL", "matchrelay:{test:news}:hwm:"+r.origin()).Err())
		r.add("news", 5)
		sub.WaitFor(11)
		require.Equal(t, []string{"redis_amnesia"}, r.alertKinds())
		r.requireComplete(sub, nil)
		require.NotEmpty(t, r.topic("news").Progress.Run)
		require.Equal(t, 1, r.relay.Health().Topics["news"].Receivers)
	})
	t.Run("without them it still delivers", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, redistest.Options{})
		r.server.Start()
		sub := r.subscribe(redistest.SubscriberOptions{})
		opts := quick()
		opts.MinReceivers = map[string]int{"news": 1}
		r.startTarget(opts, r.as(least...))
		r.addMany("news", 300)
		sub.WaitFor(300)
		r.waitDelivered("news")
		r.requireComplete(sub, nil)
		require.Equal(t, -1, r.relay.Health().Topics["news"].Receivers)
		sub.Close()
		r.add("news", 1)
		r.waitDelivered("news")
		require.Equal(t, uint64(1), r.topic("news").Unheard, "PUBLISH itself tells that nobody heard")
	})
}

func (r *rig) origin() string {
	r.t.Helper()
	stats, err := r.box.Stats(context.Background())
	require.NoError(r.t, err)
	return stats.Origin
}

func TestEachRightOfTheLeastIsNeeded(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	for i, right := range least {
		if name, ok := strings.CutPrefix(right.(string), "+"); ok && name != "hello" { // older clients log in with AUTH alone
			without := append(append([]any{}, least[:i]...), least[i+1:]...)
			target := r.as(without...)
			require.NoError(t, r.server.Client().ScriptFlush(context.Background()).Err())
			err := target.Load(context.Background())
			if err == nil {
				batch := relay.Batch{Channel: "test:news", Origin: name, Events: []outbox.Entry{{Sequence: 1, MessageID: "m", Payload: []byte("{}")}}}
				var replies []relay.Reply
				if replies, err = target.Publish(context.Background(), batch); err == nil {
					err = replies[0].Err
				}
			}
			require.Error(t, err, right)
		}
	}
}

func TestLoginsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, password, says string
	}{
		{"no password", "", "set REDIS_PASSWORD"},
		{"a wrong password", "guess", "correct REDIS_USERNAME and REDIS_PASSWORD"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{Config: []string{"requirepass secret"}})
			r.server.Start()
			client := relay.NewClient(relay.ClientOptions{Addrs: []string{r.server.Addr()}, Password: c.password})
			defer client.Close()
			log := &logged{}
			opts := quick()
			opts.Logger = log.logger()
			r.add("news", 1)
			r.startTarget(opts, relay.NewRedis(client, time.Second))
			defer r.halt()
			eventually(t, "it is told", func() bool {
				h := r.relay.Health().Topics["news"]
				return h.State == relay.Blocked && strings.Contains(h.LastError, c.says)
			})
			for _, secret := range []string{"secret", "guess"} {
				require.Zero(t, log.count(secret))
				require.NotContains(t, r.relay.Health().LastError, secret)
			}
		})
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	keys := newKeys(t)
	port := freePort(t)
	r := newRig(t, redistest.Options{Config: []string{"tls-port " + strconv.Itoa(port), "tls-cert-file " + keys.cert,
		"tls-key-file " + keys.key, "tls-ca-cert-file " + keys.cert, "tls-auth-clients yes"}})
	r.server.Start()
	sub := r.subscribe(redistest.SubscriberOptions{})
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	for _, c := range []struct {
		name string
		tls  *tls.Config
	}{
		{"an authority that is not known", &tls.Config{ServerName: "localhost", Certificates: keys.pair}},
		{"another name", &tls.Config{ServerName: "elsewhere", RootCAs: keys.pool, Certificates: keys.pair}},
		{"no certificate of our own", &tls.Config{ServerName: "localhost", RootCAs: keys.pool}},
	} {
		client := relay.NewClient(relay.ClientOptions{Addrs: []string{addr}, TLS: c.tls})
		r.startTarget(quick(), relay.NewRedis(client, time.Second))
		eventually(t, c.name, func() bool {
			h := r.relay.Health()
			return h.State == relay.Blocked && strings.Contains(h.LastError, "REDIS_TLS_CA")
		})
		r.halt()
		require.NoError(t, client.Close())
	}
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{addr}, TLS: &tls.Config{ServerName: "localhost", RootCAs: keys.pool, Certificates: keys.pair}})
	defer client.Close()
	r.startTarget(quick(), relay.NewRedis(client, time.Second))
	r.add("news", 5)
	sub.WaitFor(5)
	r.waitDelivered("news")
	r.halt()
}

// keys are a self-signed certificate for localhost, for servers and clients.
type keys struct {
	cert, key string // files
	pool      *x509.CertPool
	pair      []tls.Certificate
}

func newKeys(t *testing.T) keys {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"localhost"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &private.PublicKey, private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	k := keys{cert: filepath.Join(t.TempDir(), "cert.pem"), key: filepath.Join(t.TempDir(), "key.pem"), pool: x509.NewCertPool()}
	require.NoError(t, os.WriteFile(k.cert, cert, 0o600))
	require.NoError(t, os.WriteFile(k.key, key, 0o600))
	require.True(t, k.pool.AppendCertsFromPEM(cert))
	pair, err := tls.X509KeyPair(cert, key)
	require.NoError(t, err)
	k.pair = []tls.Certificate{pair}
	return k
}

func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestAnEmbeddedRedisThatKnowsNoRunID(t *testing.T) {
	t.Parallel()
	embedded := miniredis.RunT(t)
	r := newRig(t, redistest.Options{})
	client := relay.NewClient(relay.ClientOptions{Addrs: []string{embedded.Addr()}, DialTimeout: time.Second})
	defer client.Close()
	listen := func() (*redis.PubSub, <-chan *redis.Message) {
		sub := redis.NewClient(&redis.Options{Addr: embedded.Addr(), Protocol: 2}).Subscribe(context.Background(), "test:news")
		_, err := sub.Receive(context.Background())
		require.NoError(t, err)
		return sub, sub.Channel(redis.WithChannelSize(1000))
	}
	sub, messages := listen()
	defer func() { _ = sub.Close() }()
	opts := quick()
	opts.MinReceivers = map[string]int{"news": 1}
	r.startTarget(opts, relay.NewRedis(client, time.Second))
	defer r.halt()
	expect := func(from, n int) {
		for i := range n {
			require.Equal(t, r.appended[from+i].MessageID, redistest.EnvelopeID([]byte((<-messages).Payload)), fmt.Sprint(from+i))
		}
	}
	r.addMany("news", 300)
	expect(0, 300)
	r.waitDelivered("news")
	embedded.Close()
	r.addMany("news", 300)
	eventually(t, "the outage is seen", func() bool { return r.relay.Health().Topics["news"].State == relay.RedisDown })
	require.NoError(t, sub.Close())
	require.NoError(t, embedded.Restart())
	sub, messages = listen()
	expect(300, 300)
	r.waitDelivered("news")
	embedded.FlushAll()
	r.addMany("news", 10)
	expect(600, 10)
	require.Equal(t, []string{"redis_amnesia"}, r.alertKinds())
}
