package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRedisMayBeOneNodeAClusterOrASentinelGroup(t *testing.T) {
	for _, tt := range []struct {
		name    string
		environ []string
		want    Server
		cluster bool
	}{
		{"a host alone", []string{"REDIS_URL=redis://h"}, Server{Addrs: []string{"h:6379"}}, false},
		{"everything in the URL", []string{"REDIS_URL=redis://u:p%40%2Cs@h:7000/2"}, Server{Addrs: []string{"h:7000"}, Username: "u", Password: "p@,s", DB: 2}, false},
		{"a password without user", []string{"REDIS_URL=redis://:p@h/"}, Server{Addrs: []string{"h:6379"}, Password: "p"}, false},
		{"the login in variables", []string{"REDIS_URL=redis://h", "REDIS_USERNAME=u", "REDIS_PASSWORD=p"}, Server{Addrs: []string{"h:6379"}, Username: "u", Password: "p"}, false},
		{"an IPv6 address", []string{"REDIS_URL=redis://[::1]:6380"}, Server{Addrs: []string{"[::1]:6380"}}, false},
		{"a Cluster of URLs", []string{"REDIS_URL=redis://a:1,redis://b:2"}, Server{Addrs: []string{"a:1", "b:2"}}, true},
		{"a Cluster with one login", []string{"REDIS_URL=redis://:p@a:1, redis://b:2,redis://c"}, Server{Addrs: []string{"a:1", "b:2", "c:6379"}, Password: "p"}, true},
		{"Sentinels", []string{"REDIS_URL=redis://s1:1,redis://s2:1/3", "REDIS_SENTINEL_MASTER=main"}, Server{Addrs: []string{"s1:1", "s2:1"}, SentinelMaster: "main", DB: 3}, false},
		{"Sentinels with the master's login", []string{"REDIS_URL=redis://:p@s1", "REDIS_SENTINEL_MASTER=main"},
			Server{Addrs: []string{"s1:6379"}, SentinelMaster: "main", Password: "p", SentinelPassword: "p"}, false},
		{"Sentinels with a login of their own", []string{"REDIS_URL=redis://a:b@s1", "REDIS_SENTINEL_MASTER=main", "REDIS_USERNAME=u", "REDIS_PASSWORD=p"},
			Server{Addrs: []string{"s1:6379"}, SentinelMaster: "main", Username: "u", Password: "p", SentinelUsername: "a", SentinelPassword: "b"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := mustLoad(t, tt.environ...)
			require.Equal(t, tt.want, c.Redis.Server)
			require.Equal(t, tt.cluster, c.Redis.Server.Cluster())
		})
	}
}

func TestAWrongRedisURLIsRefusedWithoutShowingItsPassword(t *testing.T) {
	for _, tt := range []struct{ name, url, shown string }{
		{"another scheme", "http://u:topsecret@h", "http://***@h"},
		{"no scheme", "h:6379", "h:6379"},
		{"a Unix socket", "unix:///run/redis.sock", "***"},
		{"no host", "redis://", "redis://"},
		{"a port that is none", "redis://u:topsecret@h:99999", "redis://***@h:99999"},
		{"port 0", "redis://h:0", "redis://h:0"},
		{"a database that is no number", "redis://h/topsecret!", "redis://***"},
		{"a negative database", "redis://h/-1", "redis://h/-1"},
		{"options", "redis://h?password=topsecret", "redis://***"},
		{"a slash in the password", "redis://u:top/secret@h", "redis://***@h"},
		{"a comma in the password", "redis://u:top,secret@h", "redis://***@h"},
		{"a bad escape in the password", "redis://u:topsecret%zz@h", "redis://***@h"},
		{"the @ left out", "redis://u:topsecret", "redis://***"},
		{"an empty item", "redis://a,", "redis://***"},
		{"two schemes", "redis://a,rediss://b", "redis://a,rediss://b"},
		{"two logins", "redis://:topsecret@a,redis://:b@b", "redis://***@b"},
		{"two databases", "redis://a/1,redis://b/2", "redis://a/1,redis://b/2"},
		{"a database in a Cluster", "redis://a/1,redis://b", "redis://a/1,redis://b"},
		{"a list with the scheme once", "redis://a,b", "redis://a,b"},
		{"the same node twice", "redis://a,redis://a:6379", "redis://a,redis://a:6379"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, "REDIS_URL="+tt.url)
			var e *Error
			require.ErrorAs(t, err, &e)
			require.Len(t, e.Fields, 1)
			require.Equal(t, "REDIS_URL", e.Fields[0].Name)
			require.Equal(t, tt.shown, e.Fields[0].Given)
			require.NotContains(t, err.Error(), "topsecret")
		})
	}
}

func TestTLSFilesAreReadWithTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cert, key)

	c := mustLoad(t, "REDIS_URL=rediss://h", "REDIS_TLS_CA="+cert, "REDIS_TLS_CERT="+cert, "REDIS_TLS_KEY="+key)
	require.NotNil(t, c.Redis.Server.TLS.RootCAs)
	require.Len(t, c.Redis.Server.TLS.Certificates, 1)

	c = mustLoad(t, "REDIS_URL=rediss://h")
	require.NotNil(t, c.Redis.Server.TLS)
	require.Nil(t, c.Redis.Server.TLS.RootCAs, "the system's CAs")

	_, err := load(t, "REDIS_URL=rediss://h", "REDIS_TLS_CA="+key)
	require.ErrorContains(t, err, "REDIS_TLS_CA")
}

func writeCertificate(t *testing.T, certPath, keyPath string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	keyBytes, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	for path, block := range map[string]*pem.Block{
		certPath: {Type: "CERTIFICATE", Bytes: cert},
		keyPath:  {Type: "PRIVATE KEY", Bytes: keyBytes},
	} {
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
	}
}
