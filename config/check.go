package config

import (
	"math"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // the zone must load on a machine without zone files
	"unicode"
)

const (
	mib              = 1 << 20
	smallestMaxBytes = 64 * mib
	// Redis takes no argument above proto-max-bulk-len, 512 MiB by default.
	largestEvent = 512 * mib
)

// check fills in what follows from several values, and judges each one that
// parsed. Checks that need more than one variable are skipped when one of them
// is wrong already.
func (c *Config) check(found problems) {
	require := func(ok bool, name, want string) {
		if !ok {
			c.fail(found, name, want)
		}
	}
	c.checkRedis(found, require)
	c.checkRelay(require)
	c.checkOutbox(found, require)
	c.checkProcessor(require)
	c.checkHTTP(found, require)
}

// shortestToken is how many characters a token has at least.
const shortestToken = 16

func (c *Config) checkHTTP(found problems, require func(bool, string, string)) {
	h := c.HTTP
	host, port, err := net.SplitHostPort(h.Addr)
	_, portErr := strconv.ParseUint(port, 10, 16)
	loopback := host == "localhost" || net.ParseIP(host).IsLoopback()
	require(!h.On() || err == nil && portErr == nil && loopback, "MATCHRELAY_HTTP_ADDR",
		"a loopback address and port such as 127.0.0.1:8000, [::1]:8000 or localhost:8000, or off: match lists hold personal data, and HTTP does not encrypt")
	odd := func(r rune) bool { return r <= ' ' || r > '~' }
	require(h.Token == "" || len(h.Token) >= shortestToken && !strings.ContainsFunc(string(h.Token), odd), "MATCHRELAY_HTTP_TOKEN",
		"16 or more characters of printable ASCII without spaces, such as openssl rand -hex 32 makes")
	if !found.any("MATCHRELAY_HTTP_ADDR") {
		require(!h.On() || h.Token != "", "MATCHRELAY_HTTP_TOKEN",
			"a token, for MATCHRELAY_HTTP_ADDR is set: 16 or more characters, such as openssl rand -hex 32 makes")
	}
}

func (c *Config) checkRedis(found problems, require func(bool, string, string)) {
	r := &c.Redis
	c.resolveServer(found)

	if alias := c.given["REDIS_ENABLED"]; alias != nil && !found.any("REDIS_ENABLED", "REDIS_PUBSUB_ENABLED") {
		require(c.given["REDIS_PUBSUB_ENABLED"] == nil || r.Enabled == r.EnabledAlias,
			"REDIS_ENABLED", "the same as REDIS_PUBSUB_ENABLED, whose other name it is (set only one of them)")
		r.Enabled = r.EnabledAlias
		c.given["REDIS_PUBSUB_ENABLED"] = alias
	}

	require(r.ConnTimeout > 0, "REDIS_CONNECTION_TIMEOUT", "more than 0 seconds")
	require(r.SocketTimeout > 0, "REDIS_SOCKET_TIMEOUT", "more than 0 seconds")
	require(r.HealthCheck > 0, "REDIS_HEALTH_CHECK_INTERVAL", "more than 0 seconds")
	require(r.MaxRetries >= 1, "REDIS_MAX_RETRIES", "a whole number, 1 or more")
	require(r.RetryDelay > 0, "REDIS_RETRY_DELAY", "more than 0 seconds")
	if !found.any("REDIS_RETRY_DELAY", "REDIS_RETRY_MAX_DELAY") {
		require(r.RetryDelay <= r.RetryMaxDelay, "REDIS_RETRY_MAX_DELAY", "no less than REDIS_RETRY_DELAY")
	}

	seen := map[string]string{}
	for _, ch := range []struct{ name, channel string }{
		{"REDIS_MATCH_UPDATES_CHANNEL", r.MatchUpdates},
		{"REDIS_PROCESSOR_STATUS_CHANNEL", r.Status},
		{"REDIS_SYSTEM_ALERTS_CHANNEL", r.Alerts},
	} {
		odd := func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) || strings.ContainsRune("{}", r) }
		require(!strings.ContainsFunc(ch.channel, odd), ch.name, "a channel name without spaces or braces")
		require(seen[ch.channel] == "", ch.name, "another channel than "+seen[ch.channel])
		seen[ch.channel] = ch.name
	}
}

// resolveServer makes Redis.Server of the URL, the login, the Sentinel name and
// the certificates.
func (c *Config) resolveServer(found problems) {
	r := &c.Redis
	server, useTLS, err := parseRedisURL(string(r.URL))
	if err != nil {
		c.fail(found, "REDIS_URL", err.Error())
		return
	}
	server.SentinelMaster = r.SentinelName
	sentinels := r.SentinelName != ""
	if sentinels {
		server.SentinelUsername, server.SentinelPassword = server.Username, server.Password
	}
	if server.Cluster() && server.DB != 0 {
		c.fail(found, "REDIS_URL", "no database number: a Cluster has only database 0")
	}
	if !sentinels && r.Username != "" && server.Username != "" && r.Username != server.Username {
		c.fail(found, "REDIS_USERNAME", "the same user as in REDIS_URL (set only one of them)")
	}
	if !sentinels && r.Password != "" && server.Password != "" && r.Password != server.Password {
		c.fail(found, "REDIS_PASSWORD", "the same password as in REDIS_URL (set only one of them)")
	}
	if r.Username != "" {
		server.Username = r.Username
	}
	if r.Password != "" {
		server.Password = r.Password
	}
	if server.Username != "" && server.Password == "" {
		c.fail(found, "REDIS_PASSWORD", "a password for the user that is set")
	}
	if !useTLS {
		for _, name := range []string{"REDIS_TLS_CA", "REDIS_TLS_CERT", "REDIS_TLS_KEY"} {
			if c.origin(name) != FromDefault {
				c.fail(found, name, "nothing, or a REDIS_URL that begins with rediss://")
			}
		}
	} else if (r.CertFile == "") != (r.KeyFile == "") {
		name := "REDIS_TLS_KEY"
		if r.CertFile == "" {
			name = "REDIS_TLS_CERT"
		}
		c.fail(found, name, "REDIS_TLS_CERT and REDIS_TLS_KEY both set, or neither")
	} else {
		conf, name, want := loadTLS(r.CAFile, r.CertFile, r.KeyFile)
		if name != "" {
			c.fail(found, name, string(want))
		}
		server.TLS = conf
	}
	r.Server = server
}

func (c *Config) checkRelay(require func(bool, string, string)) {
	r := &c.Relay
	if c.origin("RELAY_STREAM_MAX_UNREAD") == FromDefault {
		r.StreamMaxUnread = max(r.StreamMaxUnread, r.StreamMaxLen)
	}
	require(r.StreamMaxLen >= 1, "RELAY_STREAM_MAXLEN", "a whole number, 1 or more")
	require(r.StreamMaxUnread >= r.StreamMaxLen, "RELAY_STREAM_MAX_UNREAD", "a whole number, RELAY_STREAM_MAXLEN or more")
	require(r.WaitTimeout > 0, "RELAY_WAIT_TIMEOUT", "more than 0 seconds")
	require(r.MaxBytesPerSecond > 0, "RELAY_MAX_BYTES_PER_SECOND", "more than 0 bytes")
}

func (c *Config) checkOutbox(found problems, require func(bool, string, string)) {
	o := &c.Outbox
	if c.origin("MATCHRELAY_DB") == FromDefault {
		o.Path = filepath.Join(o.Folder, "matchrelay.db")
	}
	if c.origin("MATCHRELAY_SOCKET") == FromDefault {
		o.Socket = o.Path + ".sock"
		if real, err := filepath.EvalSymlinks(o.Path); err == nil { // one file has one socket, whatever it is called
			o.Socket = real + ".sock"
		}
	}
	require(o.Retention > 0, "OUTBOX_RETENTION", "more than 0 seconds")
	most := largestMaxBytes(strconv.IntSize)
	if c.origin("OUTBOX_MAX_BYTES") == FromDefault {
		o.MaxBytes = min(o.MaxBytes, most)
	}
	require(o.MaxBytes >= smallestMaxBytes, "OUTBOX_MAX_BYTES", "64MiB or more")
	require(o.MaxBytes <= most, "OUTBOX_MAX_BYTES", "768MiB or less: a 32-bit system cannot open larger files again")
	require(o.MaxEventBytes > 0 && o.MaxEventBytes <= largestEvent, "OUTBOX_MAX_EVENT_BYTES", "1 byte to 512MiB, the most that Redis takes by default")
	if !found.any("OUTBOX_MAX_BYTES") {
		require(o.MaxEventBytes < o.MaxBytes, "OUTBOX_MAX_EVENT_BYTES", "less than OUTBOX_MAX_BYTES")
	}
}

// largestMaxBytes is the most that package outbox takes where an address has so many bits.
func largestMaxBytes(bits int) Size {
	if bits > 32 {
		return math.MaxInt64
	}
	return 768 * mib
}

func (c *Config) checkProcessor(require func(bool, string, string)) {
	p := &c.Processor
	p.PreviousRequired = c.origin("PREVIOUS_MATCHES_FILE") != FromDefault
	if !filepath.IsAbs(p.PreviousMatches) {
		p.PreviousMatches = filepath.Join(c.Outbox.Folder, p.PreviousMatches)
	}
	u, err := url.Parse(string(p.APIClientURL))
	ok := err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.RawQuery == "" && u.Fragment == ""
	require(ok, "FOGIS_API_CLIENT_URL", "an http:// or https:// URL with a host, without query; /matches is appended to it")
	if ok {
		p.MatchesURL = Secret(u.JoinPath("matches").String())
	}
	require(p.Interval > 0, "SERVICE_INTERVAL", "more than 0 seconds")
	p.Location, err = time.LoadLocation(p.Timezone)
	require(err == nil, "MATCHRELAY_TIMEZONE", "a zone name such as Europe/Stockholm or UTC")
}
