package config

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const hidden = "***"

// Server says where Redis is: everything that a client needs to connect.
type Server struct {
	Addrs          []string // host:port of the node, of Cluster nodes, or of Sentinels
	SentinelMaster string   // not empty: Addrs are Sentinels that know this master
	Username       string
	Password       Secret

	// The login of the Sentinels, which is the one in the URL. The master's is
	// the same unless REDIS_USERNAME and REDIS_PASSWORD give another.
	SentinelUsername string
	SentinelPassword Secret

	DB  int         // 0 in a Cluster
	TLS *tls.Config // nil: no TLS; the client fills in ServerName
}

// Cluster reports whether Addrs are nodes of a Redis Cluster.
func (s Server) Cluster() bool { return len(s.Addrs) > 1 && s.SentinelMaster == "" }

const wantRedisURL = expected("redis://host:6379 or rediss://user:password@host:6379/0, or such URLs comma separated, " +
	"each node once, with one scheme, one login and one database (percent-encode special characters in the password)")

// parseRedisURL takes one URL, or several with commas between them.
func parseRedisURL(raw string) (s Server, useTLS bool, err error) {
	var scheme, path string
	var login *url.Userinfo
	for i, part := range strings.Split(raw, ",") {
		u, err := url.Parse(strings.TrimSpace(part))
		// The reason is dropped on purpose: net/url quotes the password in it.
		if err != nil || (u.Scheme != "redis" && u.Scheme != "rediss") || u.Hostname() == "" ||
			u.RawQuery != "" || u.Fragment != "" {
			return Server{}, false, wantRedisURL
		}
		db, ok := parseDB(u.Path)
		switch {
		case !ok,
			i > 0 && u.Scheme != scheme,
			u.User != nil && login != nil && u.User.String() != login.String(),
			u.Path != "" && path != "" && db != s.DB:
			return Server{}, false, wantRedisURL
		}
		scheme = u.Scheme
		if u.Path != "" {
			path, s.DB = u.Path, db
		}
		if u.User != nil {
			login = u.User
		}
		port := u.Port()
		if port == "" {
			port = "6379"
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return Server{}, false, wantRedisURL
		}
		addr := net.JoinHostPort(u.Hostname(), port)
		if slices.Contains(s.Addrs, addr) {
			return Server{}, false, wantRedisURL
		}
		s.Addrs = append(s.Addrs, addr)
	}
	if login != nil {
		s.Username = login.Username()
		password, _ := login.Password()
		s.Password = Secret(password)
	}
	return s, scheme == "rediss", nil
}

// parseDB reads the path of a URL: nothing, / or /number.
func parseDB(path string) (int, bool) {
	path = strings.TrimPrefix(path, "/")
	if path == "" {
		return 0, true
	}
	n, err := parseInt(path)
	return n, err == nil
}

var plainAddresses = regexp.MustCompile(`^` + address + `(,\s*((redis|rediss)://)?` + address + `)*$`)

const address = `(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?`

// redactURL keeps the scheme and the addresses of a URL, or of a comma list,
// and hides the rest. It also takes text that is no URL at all, in which / and
// , and @ may belong to a password: everything before the last @ is hidden.
func redactURL(raw string) string {
	scheme, rest, found := strings.Cut(raw, "://")
	switch {
	case !found:
		scheme, rest = "", raw
	case slices.Contains([]string{"redis", "rediss", "http", "https"}, scheme):
		scheme += "://"
	default:
		return hidden
	}
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		scheme, rest = scheme+hidden+"@", rest[at+1:]
	}
	if rest != "" && !plainAddresses.MatchString(rest) {
		rest = hidden
	}
	return scheme + rest
}

// loadTLS reads the certificate files. The failing variable's name and what it
// should hold come back when there is something wrong.
func loadTLS(caFile, certFile, keyFile string) (conf *tls.Config, name string, want expected) {
	conf = &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		conf.RootCAs = x509.NewCertPool()
		if err != nil || !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, "REDIS_TLS_CA", "a readable PEM file with at least one certificate"
		}
	}
	if certFile != "" {
		cert, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, "REDIS_TLS_CERT", "a readable PEM file with a certificate that belongs to the key in REDIS_TLS_KEY"
		}
		conf.Certificates = []tls.Certificate{cert}
	}
	return conf, "", ""
}
