package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// ClientOptions say where Redis is. Only URL is needed.
type ClientOptions struct {
	// URL is redis://[user:password@]host[:port][/db] or rediss:// for TLS; several with commas between them are nodes of
	// a Cluster, or sentinels when SentinelMaster is set.
	URL string
	// Username and Password replace those of the URL.
	Username, Password string
	// SentinelMaster is the name of the master that the sentinels in URL watch.
	SentinelMaster string
	// TLSCA, TLSCert and TLSKey are PEM files for rediss://; the CA replaces the system's.
	TLSCA, TLSCert, TLSKey string
	// DialTimeout bounds a connection attempt; 0 means 5 s.
	DialTimeout time.Duration
}

// NewClient makes a client for NewRedis. It never retries a command by itself: the relay knows when that is right. No
// connection is made yet. Errors name the option, and never hold the URL, for it may hold a password.
func NewClient(o ClientOptions) (redis.UniversalClient, error) {
	u := redis.UniversalOptions{
		MasterName:               o.SentinelMaster,
		MaxRetries:               -1,
		DialerRetries:            1,
		DialTimeout:              o.DialTimeout,
		ReadTimeout:              -1, // every call has a deadline by its size
		WriteTimeout:             -1,
		ContextTimeoutEnabled:    true,
		Protocol:                 2,
		DisableIdentity:          true, // CLIENT SETINFO is not among the rights that the relay asks for
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	var secure bool
	for i, text := range strings.Split(o.URL, ",") {
		one, err := redis.ParseURL(strings.TrimSpace(text))
		if err != nil { // not wrapped: it quotes the password
			return nil, fmt.Errorf("REDIS_URL: address %d of the list is malformed; expected redis://[user:password@]host[:port][/db] or rediss://…", i+1)
		}
		if one.Network != "tcp" {
			return nil, fmt.Errorf("REDIS_URL: address %d is a %s socket; expected redis:// or rediss://", i+1, one.Network)
		}
		if i > 0 && secure != (one.TLSConfig != nil) {
			return nil, errors.New("REDIS_URL: redis:// and rediss:// are mixed; expected one of them throughout")
		}
		secure = one.TLSConfig != nil
		u.Addrs = append(u.Addrs, one.Addr)
		u.DB = max(u.DB, one.DB)
		u.Username = firstOf(u.Username, one.Username)
		u.Password = firstOf(u.Password, one.Password)
	}
	if o.SentinelMaster != "" { // the URL names the sentinels, so its credentials are theirs
		u.SentinelUsername, u.SentinelPassword = u.Username, u.Password
	}
	u.Username = firstOf(o.Username, u.Username)
	u.Password = firstOf(o.Password, u.Password)
	if secure {
		var err error
		if u.TLSConfig, err = tlsConfig(o, u.Addrs[0]); err != nil {
			return nil, err
		}
	} else if o.TLSCA+o.TLSCert+o.TLSKey != "" {
		return nil, errors.New("REDIS_TLS_CA, REDIS_TLS_CERT and REDIS_TLS_KEY need a REDIS_URL that begins with rediss://")
	}
	return redis.NewUniversalClient(&u), nil
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func tlsConfig(o ClientOptions, addr string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if host, _, err := net.SplitHostPort(addr); err == nil && o.SentinelMaster == "" {
		config.ServerName = host
	}
	if o.TLSCA != "" {
		pem, err := os.ReadFile(o.TLSCA)
		if err != nil {
			return nil, fmt.Errorf("REDIS_TLS_CA: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("REDIS_TLS_CA: %s holds no certificate; expected PEM", o.TLSCA)
		}
	}
	if o.TLSCert != "" || o.TLSKey != "" {
		pair, err := tls.LoadX509KeyPair(o.TLSCert, o.TLSKey)
		if err != nil {
			return nil, fmt.Errorf("REDIS_TLS_CERT and REDIS_TLS_KEY: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// QuietClientLog keeps go-redis from writing lines of its own to standard error: the relay reports every failure itself.
func QuietClientLog() { redis.SetLogger(silent{}) }

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}
