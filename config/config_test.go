package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// load runs Load in an empty working directory, so that no .env is found there.
func load(t *testing.T, environ ...string) (*Config, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	return Load(Options{Environ: append([]string{}, environ...)})
}

func mustLoad(t *testing.T, environ ...string) *Config {
	t.Helper()
	c, err := load(t, environ...)
	require.NoError(t, err)
	return c
}

func TestOtherVariablesCanBeLeftAlone(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile(".env", []byte("MATCHRELAY_SOCKET=/run/s\nRELAY_ON_POISON=what\n"), 0o600))
	opts := Options{Environ: []string{"REDIS_URL=http://x", "DATA_FOLDER=d"}, Overrides: map[string]string{"SERVICE_INTERVAL": "never"}}
	_, err := Load(opts)
	require.ErrorIs(t, err, ErrInvalid)
	opts.Only = []string{"MATCHRELAY_SOCKET", "DATA_FOLDER"}
	c, err := Load(opts)
	require.NoError(t, err)
	require.Equal(t, "/run/s", c.Outbox.Socket)
	require.Equal(t, "d/matchrelay.db", c.Outbox.Path)
	require.Equal(t, []string{"fogis-redis:6379"}, c.Redis.Server.Addrs)
	require.Len(t, opts.Overrides, 1, "the caller's")
}

func TestDefaultsAreAWorkingConfiguration(t *testing.T) {
	c := mustLoad(t)

	require.Equal(t, []string{"fogis-redis:6379"}, c.Redis.Server.Addrs)
	require.Nil(t, c.Redis.Server.TLS)
	require.False(t, c.Redis.Server.Cluster())
	require.True(t, c.Redis.Enabled)
	require.Equal(t, 5*time.Second, c.Redis.ConnTimeout)
	require.Equal(t, time.Second, c.Redis.RetryDelay)
	require.Equal(t, 3, c.Redis.MaxRetries)
	require.Equal(t, map[string]string{
		"match_updates":     "fogis:matches:updates",
		"processing_status": "fogis:processor:status",
		"system_alert":      "fogis:system:alerts",
	}, c.Redis.Channels())
	require.Equal(t, Receivers{"match_updates": 1}, c.Relay.MinReceivers)
	require.Equal(t, 90*time.Second, c.Relay.RejoinWait)
	require.Zero(t, c.Relay.HoldMax)
	require.Equal(t, Park, c.Relay.OnPoison)
	require.Equal(t, "data/matchrelay.db", c.Outbox.Path)
	require.Equal(t, "data/matchrelay.db.sock", c.Outbox.Socket)
	require.Equal(t, 7*24*time.Hour, c.Outbox.Retention)
	require.Equal(t, Size(4<<30), c.Outbox.MaxBytes)
	require.Equal(t, Size(24<<20), c.Outbox.MaxEventBytes)
	require.Equal(t, "http://fogis-api-client-service:8080/matches", string(c.Processor.MatchesURL))
	require.Equal(t, 5*time.Minute, c.Processor.Interval)
	require.Equal(t, Service, c.Processor.RunMode)
	require.Equal(t, slog.LevelInfo, c.Processor.LogLevel.Level())
	require.Equal(t, "Europe/Stockholm", c.Processor.Location.String())
	require.Empty(t, c.Notes())
}

func TestValuesMayBeWrittenInSeveralWays(t *testing.T) {
	for _, tt := range []struct {
		name, set string
		got       func(*Config) any
		want      any
	}{
		{"plain seconds", "SERVICE_INTERVAL=60", func(c *Config) any { return c.Processor.Interval }, time.Minute},
		{"fractions of a second", "REDIS_RETRY_DELAY=0.25", func(c *Config) any { return c.Redis.RetryDelay }, 250 * time.Millisecond},
		{"a Go duration", "RELAY_HOLD_MAX=2m30s", func(c *Config) any { return c.Relay.HoldMax }, 150 * time.Second},
		{"spaces around a number", "SERVICE_INTERVAL= 60 ", func(c *Config) any { return c.Processor.Interval }, time.Minute},
		{"plain bytes", "OUTBOX_MAX_EVENT_BYTES=1048576", func(c *Config) any { return c.Outbox.MaxEventBytes }, Size(1 << 20)},
		{"bytes with unit", "OUTBOX_MAX_EVENT_BYTES=100B", func(c *Config) any { return c.Outbox.MaxEventBytes }, Size(100)},
		{"KiB", "OUTBOX_MAX_EVENT_BYTES=512 KiB", func(c *Config) any { return c.Outbox.MaxEventBytes }, Size(512 << 10)},
		{"TiB in lower case", "OUTBOX_MAX_BYTES=1tib", func(c *Config) any { return c.Outbox.MaxBytes }, Size(1 << 40)},
		{"a switch as yes", "RELAY_STREAMS=YES", func(c *Config) any { return c.Relay.Streams }, true},
		{"a switch as 0", "REDIS_PUBSUB_ENABLED=0", func(c *Config) any { return c.Redis.Enabled }, false},
		{"receivers of two topics", "RELAY_MIN_RECEIVERS=match_updates=2, system_alert=0", func(c *Config) any { return c.Relay.MinReceivers }, Receivers{"match_updates": 2, "system_alert": 0}},
		{"the alias of the switch", "REDIS_ENABLED=false", func(c *Config) any { return c.Redis.Enabled }, false},
		{"choices in any case", "RELAY_ON_POISON=Block", func(c *Config) any { return c.Relay.OnPoison }, Block},
		{"one cycle", "RUN_MODE=oneshot", func(c *Config) any { return c.Processor.RunMode }, OneShot},
		{"log level debug", "LOG_LEVEL=debug", func(c *Config) any { return c.Processor.LogLevel.Level() }, slog.LevelDebug},
		{"log level warning", "LOG_LEVEL=Warning", func(c *Config) any { return c.Processor.LogLevel.Level() }, slog.LevelWarn},
		{"log level critical", "LOG_LEVEL=CRITICAL", func(c *Config) any { return c.Processor.LogLevel.Level() }, slog.LevelError},
		{"an API URL with a path", "FOGIS_API_CLIENT_URL=https://api.example/fogis/", func(c *Config) any { return string(c.Processor.MatchesURL) }, "https://api.example/fogis/matches"},
		{"a folder for the default file", "DATA_FOLDER=/var/lib/x", func(c *Config) any { return c.Outbox.Path }, "/var/lib/x/matchrelay.db"},
		{"a file of its own", "MATCHRELAY_DB=/srv/o.db", func(c *Config) any { return c.Outbox.Socket }, "/srv/o.db.sock"},
		{"an empty value is the default", "REDIS_MAX_RETRIES=", func(c *Config) any { return c.Redis.MaxRetries }, 3},
		{"a token for later", "MATCHRELAY_HTTP_TOKEN=0123456789abcdef", func(c *Config) any { return c.HTTP.On() }, false},
	} {
		t.Run(tt.name, func(t *testing.T) { require.Equal(t, tt.want, tt.got(mustLoad(t, tt.set))) })
	}
}

func TestAWrongValueIsReportedWithItsNameAndWhatIsExpected(t *testing.T) {
	for _, tt := range []struct{ set, name, expected string }{
		{"REDIS_PUBSUB_ENABLED=maybe", "REDIS_PUBSUB_ENABLED", "true or false"},
		{"REDIS_ENABLED=maybe", "REDIS_ENABLED", "true or false"},
		{"REDIS_ENABLED=true REDIS_PUBSUB_ENABLED=false", "REDIS_ENABLED", "the same as REDIS_PUBSUB_ENABLED"},
		{"REDIS_CONNECTION_TIMEOUT=soon", "REDIS_CONNECTION_TIMEOUT", "seconds (5, 0.5)"},
		{"REDIS_CONNECTION_TIMEOUT=0", "REDIS_CONNECTION_TIMEOUT", "more than 0"},
		{"REDIS_SOCKET_TIMEOUT=NaN", "REDIS_SOCKET_TIMEOUT", "seconds (5, 0.5)"},
		{"REDIS_SOCKET_TIMEOUT=1e300", "REDIS_SOCKET_TIMEOUT", "seconds (5, 0.5)"},
		{"REDIS_SOCKET_TIMEOUT=-1", "REDIS_SOCKET_TIMEOUT", "not negative"},
		{"REDIS_SOCKET_TIMEOUT=0", "REDIS_SOCKET_TIMEOUT", "more than 0"},
		{"REDIS_MAX_RETRIES=0", "REDIS_MAX_RETRIES", "1 or more"},
		{"REDIS_MAX_RETRIES=99999999999", "REDIS_MAX_RETRIES", "a whole number"},
		{"REDIS_RETRY_DELAY=0", "REDIS_RETRY_DELAY", "more than 0"},
		{"REDIS_RETRY_DELAY=6", "REDIS_RETRY_MAX_DELAY", "no less than REDIS_RETRY_DELAY"},
		{"REDIS_HEALTH_CHECK_INTERVAL=0", "REDIS_HEALTH_CHECK_INTERVAL", "more than 0"},
		{"REDIS_MATCH_UPDATES_CHANNEL=a{b}", "REDIS_MATCH_UPDATES_CHANNEL", "without spaces or braces"},
		{"REDIS_SYSTEM_ALERTS_CHANNEL=fogis:matches:updates", "REDIS_SYSTEM_ALERTS_CHANNEL", "another channel than REDIS_MATCH_UPDATES_CHANNEL"},
		{"REDIS_PASSWORD=a REDIS_URL=redis://:b@h", "REDIS_PASSWORD", "the same password"},
		{"REDIS_USERNAME=a REDIS_URL=redis://b:p@h", "REDIS_USERNAME", "the same user"},
		{"REDIS_USERNAME=a", "REDIS_PASSWORD", "a password for the user"},
		{"REDIS_TLS_CA=ca.pem", "REDIS_TLS_CA", "begins with rediss://"},
		{"REDIS_TLS_CA=none.pem REDIS_URL=rediss://h", "REDIS_TLS_CA", "a readable PEM file"},
		{"REDIS_TLS_CERT=c.pem REDIS_URL=rediss://h", "REDIS_TLS_KEY", "both set, or neither"},
		{"REDIS_TLS_KEY=k.pem REDIS_URL=rediss://h", "REDIS_TLS_CERT", "both set, or neither"},
		{"REDIS_TLS_CERT=c.pem REDIS_TLS_KEY=k.pem REDIS_URL=rediss://h", "REDIS_TLS_CERT", "belongs to the key"},
		{"RELAY_MIN_RECEIVERS=1", "RELAY_MIN_RECEIVERS", "topic=count"},
		{"RELAY_MIN_RECEIVERS=match_update=1", "RELAY_MIN_RECEIVERS", "match_updates, processing_status, system_alert"},
		{"RELAY_MIN_RECEIVERS=match_updates=1,match_updates=2", "RELAY_MIN_RECEIVERS", "each topic once"},
		{"RELAY_MIN_RECEIVERS=match_updates=-1", "RELAY_MIN_RECEIVERS", "topic=count"},
		{"RELAY_ON_POISON=drop", "RELAY_ON_POISON", "park or block"},
		{"RELAY_STREAM_MAXLEN=0", "RELAY_STREAM_MAXLEN", "1 or more"},
		{"RELAY_STREAM_MAX_UNREAD=999", "RELAY_STREAM_MAX_UNREAD", "RELAY_STREAM_MAXLEN or more"},
		{"RELAY_WAIT_TIMEOUT=0", "RELAY_WAIT_TIMEOUT", "more than 0"},
		{"RELAY_MAX_BYTES_PER_SECOND=0", "RELAY_MAX_BYTES_PER_SECOND", "more than 0"},
		{"OUTBOX_RETENTION=0", "OUTBOX_RETENTION", "more than 0"},
		{"OUTBOX_MAX_BYTES=63MiB", "OUTBOX_MAX_BYTES", "64MiB or more"},
		{"OUTBOX_MAX_BYTES=24MB", "OUTBOX_MAX_BYTES", "a size such as"},
		{"OUTBOX_MAX_BYTES=9223372036854775807KiB", "OUTBOX_MAX_BYTES", "a size such as"},
		{"OUTBOX_MAX_EVENT_BYTES=0", "OUTBOX_MAX_EVENT_BYTES", "512MiB"},
		{"OUTBOX_MAX_EVENT_BYTES=513MiB", "OUTBOX_MAX_EVENT_BYTES", "512MiB"},
		{"OUTBOX_MAX_EVENT_BYTES=64MiB OUTBOX_MAX_BYTES=64MiB", "OUTBOX_MAX_EVENT_BYTES", "less than OUTBOX_MAX_BYTES"},
		{"FOGIS_API_CLIENT_URL=ftp://h", "FOGIS_API_CLIENT_URL", "http:// or https://"},
		{"SERVICE_INTERVAL=0", "SERVICE_INTERVAL", "more than 0"},
		{"RUN_MODE=twice", "RUN_MODE", "service or oneshot"},
		{"LOG_LEVEL=loud", "LOG_LEVEL", "DEBUG, INFO"},
		{"MATCHRELAY_TIMEZONE=Europe/Stokholm", "MATCHRELAY_TIMEZONE", "a zone name"},
		{"MATCHRELAY_HTTP_ADDR=8000", "MATCHRELAY_HTTP_ADDR", "loopback address and port such as 127.0.0.1:8000"},
		{"MATCHRELAY_HTTP_ADDR=:8000 MATCHRELAY_HTTP_TOKEN=topsecret-topsecret", "MATCHRELAY_HTTP_ADDR", "loopback"},
		{"MATCHRELAY_HTTP_ADDR=0.0.0.0:8000 MATCHRELAY_HTTP_TOKEN=topsecret-topsecret", "MATCHRELAY_HTTP_ADDR", "loopback"},
		{"MATCHRELAY_HTTP_ADDR=192.168.1.2:8000 MATCHRELAY_HTTP_TOKEN=topsecret-topsecret", "MATCHRELAY_HTTP_ADDR", "loopback"},
		{"MATCHRELAY_HTTP_ADDR=example.org:8000 MATCHRELAY_HTTP_TOKEN=topsecret-topsecret", "MATCHRELAY_HTTP_ADDR", "loopback"},
		{"MATCHRELAY_HTTP_ADDR=127.0.0.1:http MATCHRELAY_HTTP_TOKEN=topsecret-topsecret", "MATCHRELAY_HTTP_ADDR", "loopback"},
		{"MATCHRELAY_HTTP_ADDR=127.0.0.1:8000", "MATCHRELAY_HTTP_TOKEN", "a token, for MATCHRELAY_HTTP_ADDR is set"},
		{"MATCHRELAY_HTTP_ADDR=127.0.0.1:8000 MATCHRELAY_HTTP_TOKEN=topsecret-short", "MATCHRELAY_HTTP_TOKEN", "16 or more characters"},
		{"MATCHRELAY_HTTP_TOKEN=topsecret-topsecré", "MATCHRELAY_HTTP_TOKEN", "printable ASCII"},
	} {
		t.Run(tt.set, func(t *testing.T) {
			_, err := load(t, strings.Fields(tt.set)...)
			require.ErrorIs(t, err, ErrInvalid)
			var e *Error
			require.ErrorAs(t, err, &e)
			require.Len(t, e.Fields, 1, "%v", err)
			require.Equal(t, tt.name, e.Fields[0].Name)
			require.Contains(t, e.Fields[0].Expected, tt.expected)
		})
	}
}

func TestAllWrongValuesAreReportedTogetherInTableOrder(t *testing.T) {
	_, err := load(t, "LOG_LEVEL=loud", "SERVICE_INTERVAL=x", "REDIS_URL=http://h", "REDIS_PASSWORD=topsecret",
		"REDIS_MATCH_UPDATES_CHANNEL="+strings.Repeat(" ", 100), "REDIS_RETRY_DELAY=x")
	require.EqualError(t, err, strings.Join([]string{
		`invalid configuration: 5 wrong`,
		`  REDIS_URL: got "http://h" (environment), expected ` + string(wantRedisURL),
		`  REDIS_RETRY_DELAY: got "x" (environment), expected seconds (5, 0.5) or a duration such as 500ms, 90s, 168h, not negative`,
		`  REDIS_MATCH_UPDATES_CHANNEL: got "` + strings.Repeat(" ", 80) + `..." (environment), expected a channel name without spaces or braces`,
		`  SERVICE_INTERVAL: got "x" (environment), expected seconds (5, 0.5) or a duration such as 500ms, 90s, 168h, not negative`,
		`  LOG_LEVEL: got "loud" (environment), expected DEBUG, INFO, WARNING, ERROR or CRITICAL`,
	}, "\n"))
}

func TestTheStrongestOriginWins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "relay.env")
	require.NoError(t, os.WriteFile(path, []byte("\xef\xbb\xbf# ours\nSERVICE_INTERVAL=1\nREDIS_MAX_RETRIES=7\nexport DATA_FOLDER='/d$X #1'\n"), 0o600))
	c, err := Load(Options{
		EnvFile:   path,
		Environ:   []string{"SERVICE_INTERVAL=2", "LOG_LEVEL=DEBUG", "REDIS_MAX_RETRIES="},
		Overrides: map[string]string{"LOG_LEVEL": "ERROR", "REDIS_URL": ""},
	})
	require.NoError(t, err)
	origins := map[string]Origin{}
	for _, s := range c.Settings() {
		origins[s.Name] = s.Origin
	}
	require.Equal(t, 2*time.Second, c.Processor.Interval)
	require.Equal(t, FromEnvironment, origins["SERVICE_INTERVAL"])
	require.Equal(t, 7, c.Redis.MaxRetries, "an empty variable does not hide the file's")
	require.Equal(t, FromFile, origins["REDIS_MAX_RETRIES"])
	require.Equal(t, slog.LevelError, c.Processor.LogLevel.Level())
	require.Equal(t, FromFlag, origins["LOG_LEVEL"])
	require.Equal(t, FromDefault, origins["REDIS_URL"])
	require.Equal(t, "/d$X #1/matchrelay.db", c.Outbox.Path)
}

func TestTheProcessEnvironmentIsReadByDefault(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("SERVICE_INTERVAL", "17")
	require.NoError(t, os.WriteFile(DefaultEnvFile, []byte("RUN_MODE=oneshot"), 0o600))
	c, err := Load(Options{})
	require.NoError(t, err)
	require.Equal(t, 17*time.Second, c.Processor.Interval)
	require.Equal(t, OneShot, c.Processor.RunMode, ".env of the working directory")
}

func TestTheAPIIsServedOnLoopbackAddressesOnly(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:8000", "127.1.2.3:0", "[::1]:8000", "localhost:8000"} {
		c := mustLoad(t, "MATCHRELAY_HTTP_ADDR="+addr, "MATCHRELAY_HTTP_TOKEN=0123456789abcdef")
		require.True(t, c.HTTP.On())
		require.Equal(t, addr, c.HTTP.Addr)
	}
}

func TestNoSecretIsEverShown(t *testing.T) {
	c := mustLoad(t, "REDIS_URL=redis://user:topsecret@h:6380", "MATCHRELAY_HTTP_TOKEN=topsecret-topsecret",
		"FOGIS_API_CLIENT_URL=http://u:topsecret@api")
	out, err := json.Marshal([]any{c.Redis.URL, c.Redis.Server.Password, c.Processor, c.HTTP})
	require.NoError(t, err)
	for _, shown := range []string{
		fmt.Sprintf("%v %+v %#v", c, c, c), fmt.Sprintf("%+v", *c), fmt.Sprintf("%#v", *c), string(out), fmt.Sprint(c.Settings()), fmt.Sprint(c.Notes()),
	} {
		require.NotContains(t, shown, "topsecret")
	}
	require.Equal(t, "topsecret", string(c.Redis.Server.Password))
	require.Equal(t, "http://u:topsecret@api/matches", string(c.Processor.MatchesURL))

	values := map[string]string{}
	for _, s := range c.Settings() {
		values[s.Name] = s.Value
	}
	require.Equal(t, "redis://***@h:6380", values["REDIS_URL"])
	require.Equal(t, "***", values["MATCHRELAY_HTTP_TOKEN"])
	require.Equal(t, "", values["REDIS_PASSWORD"])
	require.Equal(t, "http://***@api", values["FOGIS_API_CLIENT_URL"])
}

func TestNotesTellOfVariablesWithoutEffectAndOfMisspeltNames(t *testing.T) {
	c := mustLoad(t, "REDIS_DECODE_RESPONSES=true", "PREVIOUS_MATCHES_FILE=previous_matches.json",
		"MATCHRELAY_SOCKET=/run/x.sock", "REDIS_MAX_RETRYS=topsecret", "RELAY_ONPOISON=block", "HOME=/root")
	require.Equal(t, []string{
		"REDIS_DECODE_RESPONSES has no effect: accepted for the sake of existing .env files",
		"REDIS_MAX_RETRYS is not a variable of matchrelay: the nearest name is REDIS_MAX_RETRIES",
		"RELAY_ONPOISON is not a variable of matchrelay: the nearest name is RELAY_ON_POISON",
	}, c.Notes())
}

func TestSettingsShowTheEffectiveValue(t *testing.T) {
	c := mustLoad(t, "DATA_FOLDER=/data", "REDIS_ENABLED=no")
	rows := map[string]Setting{}
	for _, s := range c.Settings() {
		require.NotEmpty(t, s.Meaning, s.Name)
		rows[s.Name] = s
	}
	require.Len(t, rows, len(Variables()))
	require.Equal(t, "/data/matchrelay.db", rows["MATCHRELAY_DB"].Value)
	require.Equal(t, "data/matchrelay.db", rows["MATCHRELAY_DB"].Default)
	require.Equal(t, FromDefault, rows["MATCHRELAY_DB"].Origin)
	require.Equal(t, "/data/matchrelay.db.sock", rows["MATCHRELAY_SOCKET"].Value)
	require.Equal(t, "/data/previous_matches.json", rows["PREVIOUS_MATCHES_FILE"].Value)
	require.Equal(t, "no", rows["REDIS_PUBSUB_ENABLED"].Value, "set by its other name")
}

func TestThePreviousListIsInTheDataFolder(t *testing.T) {
	for _, tt := range []struct {
		name, folder, file, path string
		required                 bool
	}{
		{"by default it may be missing", "", "", "data/previous_matches.json", false},
		{"relative to another folder", "DATA_FOLDER=/data", "", "/data/previous_matches.json", false},
		{"a name of one's own must be there", "DATA_FOLDER=/data", "PREVIOUS_MATCHES_FILE=old.json", "/data/old.json", true},
		{"and so must the default when it is asked for", "", "PREVIOUS_MATCHES_FILE=previous_matches.json", "data/previous_matches.json", true},
		{"an absolute path is taken as it is", "DATA_FOLDER=/data", "PREVIOUS_MATCHES_FILE=/old/list.json", "/old/list.json", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := mustLoad(t, tt.folder, tt.file).Processor
			require.Equal(t, tt.path, p.PreviousMatches)
			require.Equal(t, tt.required, p.PreviousRequired)
		})
	}
}

// env's errors name only the Go field, so two fields of one name would mix up
// their variables.
func TestTheTableHasEachNameAndEachFieldOnce(t *testing.T) {
	names, fields := map[string]bool{}, map[string]bool{}
	for _, v := range Variables() {
		require.False(t, names[v.Name] || fields[v.field], v.Name)
		names[v.Name], fields[v.field] = true, true
	}
}

func FuzzEnvFile(f *testing.F) {
	f.Add([]byte("A=1\nB='x y' # c\nexport C=\"$A\"\n"))
	f.Add([]byte("A=\"x\nB"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if values, ok := parseEnvFile(data); ok {
			require.NotContains(t, values, "")
			return
		}
		require.Positive(t, badLine(data))
	})
}

func FuzzRedactURL(f *testing.F) {
	f.Add("redis://u:p@s,", "/w", "host:1")
	f.Fuzz(func(t *testing.T, before, after, host string) {
		if strings.Contains(host, "@") || strings.Contains(host, "topsecret") {
			return
		}
		require.NotContains(t, redactURL(before+"topsecret"+after+"@"+host), "topsecret")
	})
}

func TestLargestMaxBytes_IsWhatA32BitSystemCanHold(t *testing.T) {
	require.Equal(t, Size(768*mib), largestMaxBytes(32))
	require.Greater(t, largestMaxBytes(64), Size(1<<50))
}
