package config

import (
	"log/slog"
	"time"
)

// Topics are the names that RELAY_MIN_RECEIVERS knows, in the order shown.
var Topics = []string{"match_updates", "processing_status", "system_alert"}

// Config holds every setting, parsed and checked. Make one with [Load].
//
// Tags: env is the variable's name, envDefault its default, meaning the text
// for people. secret:"all" hides the value, secret:"url" only credentials in
// it. ignored says why setting the variable has no effect.
type Config struct {
	Redis     Redis     `title:"Redis"`
	Relay     Relay     `title:"Relay"`
	Outbox    Outbox    `title:"Outbox"`
	Processor Processor `title:"Processor"`
	HTTP      HTTP      `title:"HTTP"`

	// By variable name, only those that were set. Pointers, so that %+v of a
	// Config shows addresses where the passwords are.
	given map[string]*given
	names []string // every name in the environment and the file, for typo notes
}

// Redis says where Redis is, and how patient to be with it.
type Redis struct {
	URL           Secret        `env:"REDIS_URL" envDefault:"redis://fogis-redis:6379" secret:"url" meaning:"redis:// or rediss:// (TLS); a comma list of nodes for a Cluster, or of Sentinels (with their ports); credentials allowed, never printed"`
	Enabled       bool          `env:"REDIS_PUBSUB_ENABLED" envDefault:"true" meaning:"false: the state is still recorded, but no event is appended"`
	EnabledAlias  bool          `env:"REDIS_ENABLED" envDefault:"true" meaning:"another name of REDIS_PUBSUB_ENABLED; if both are set they must agree"`
	ConnTimeout   time.Duration `env:"REDIS_CONNECTION_TIMEOUT" envDefault:"5" meaning:"seconds to wait for a connection"`
	SocketTimeout time.Duration `env:"REDIS_SOCKET_TIMEOUT" envDefault:"5" meaning:"seconds to wait for a reply; the script's time limit grows with its size"`
	MaxRetries    int           `env:"REDIS_MAX_RETRIES" envDefault:"3" meaning:"attempts of an event that fails on its own before it is parked; outages never count"`
	RetryDelay    time.Duration `env:"REDIS_RETRY_DELAY" envDefault:"1.0" meaning:"seconds before the first retry; grows exponentially, with jitter"`
	RetryMaxDelay time.Duration `env:"REDIS_RETRY_MAX_DELAY" envDefault:"5.0" meaning:"seconds between retries at most"`
	HealthCheck   time.Duration `env:"REDIS_HEALTH_CHECK_INTERVAL" envDefault:"30" meaning:"seconds between checks while idle"`
	MatchUpdates  string        `env:"REDIS_MATCH_UPDATES_CHANNEL" envDefault:"fogis:matches:updates" meaning:"channel of topic match_updates"`
	Status        string        `env:"REDIS_PROCESSOR_STATUS_CHANNEL" envDefault:"fogis:processor:status" meaning:"channel of topic processing_status"`
	Alerts        string        `env:"REDIS_SYSTEM_ALERTS_CHANNEL" envDefault:"fogis:system:alerts" meaning:"channel of topic system_alert"`
	Decode        bool          `env:"REDIS_DECODE_RESPONSES" envDefault:"true" meaning:"accepted for the sake of existing .env files; no effect" ignored:"accepted for the sake of existing .env files"`
	SentinelName  string        `env:"REDIS_SENTINEL_MASTER" meaning:"name of the master that the Sentinels in REDIS_URL watch"`
	Username      string        `env:"REDIS_USERNAME" meaning:"ACL user, if not in REDIS_URL (which, with Sentinels, holds the login of those)"`
	Password      Secret        `env:"REDIS_PASSWORD" secret:"all" meaning:"password, if not in REDIS_URL"`
	CAFile        string        `env:"REDIS_TLS_CA" meaning:"PEM file of the CA to trust instead of the system's"`
	CertFile      string        `env:"REDIS_TLS_CERT" meaning:"PEM file of the client certificate"`
	KeyFile       string        `env:"REDIS_TLS_KEY" meaning:"PEM file of the client certificate's key"`

	// Server is what all of these say about where to connect.
	Server Server
}

// Channels returns the channel of each topic.
func (r Redis) Channels() map[string]string {
	return map[string]string{Topics[0]: r.MatchUpdates, Topics[1]: r.Status, Topics[2]: r.Alerts}
}

// Relay says how events are delivered.
type Relay struct {
	MinReceivers      Receivers     `env:"RELAY_MIN_RECEIVERS" envDefault:"match_updates=1" meaning:"subscribers that a topic waits for, per topic; 0 (or left out) publishes to no one rather than wait"`
	RejoinWait        time.Duration `env:"RELAY_REJOIN_WAIT" envDefault:"90s" meaning:"after an outage, and when a relay begins, how long every topic waits for as many subscribers as before; counted on a reachable Redis"`
	HoldMax           time.Duration `env:"RELAY_HOLD_MAX" envDefault:"0" meaning:"how long the minimum above is waited for on a reachable Redis before publishing anyway, as unheard; 0 = for ever"`
	Streams           bool          `env:"RELAY_STREAMS" envDefault:"off" meaning:"on: add each event to a Redis Stream beside the channel, {<channel>}:stream"`
	StreamMaxLen      int           `env:"RELAY_STREAM_MAXLEN" envDefault:"1000" meaning:"about how many entries a stream keeps; match lists are large: mind the memory of Redis"`
	StreamMaxUnread   int           `env:"RELAY_STREAM_MAX_UNREAD" envDefault:"10000" meaning:"about how many entries a stream keeps while consumer groups or named readers have still to read them; at least RELAY_STREAM_MAXLEN"`
	OnPoison          PoisonPolicy  `env:"RELAY_ON_POISON" envDefault:"park" meaning:"park sets aside an event that cannot be published and goes on; block stops its topic instead"`
	WaitReplicas      int           `env:"RELAY_WAIT_REPLICAS" envDefault:"0" meaning:"settle an event only after this many replicas have it"`
	WaitTimeout       time.Duration `env:"RELAY_WAIT_TIMEOUT" envDefault:"1s" meaning:"how long to wait for them before that is an outage"`
	MaxBytesPerSecond Size          `env:"RELAY_MAX_BYTES_PER_SECOND" envDefault:"8MiB" meaning:"pace of a backlog where CLIENT LIST is not permitted, which tells how far behind subscribers are"`
}

// Outbox says where the file is, and how much it keeps.
type Outbox struct {
	Folder        string        `env:"DATA_FOLDER" envDefault:"data" meaning:"folder of the default MATCHRELAY_DB"`
	Path          string        `env:"MATCHRELAY_DB" envDefault:"data/matchrelay.db" meaning:"the outbox file (one process at a time)"`
	Socket        string        `env:"MATCHRELAY_SOCKET" envDefault:"<db>.sock" meaning:"control socket"`
	Retention     time.Duration `env:"OUTBOX_RETENTION" envDefault:"168h" meaning:"how long delivered events are kept"`
	MaxBytes      Size          `env:"OUTBOX_MAX_BYTES" envDefault:"4GiB" meaning:"live bytes at most; when only undelivered events are left, appending fails; at least 64MiB, at most 768MiB (and that by default) on a 32-bit system"`
	MaxEventBytes Size          `env:"OUTBOX_MAX_EVENT_BYTES" envDefault:"24MiB" meaning:"largest event; keep it below the subscribers' output buffer limit in Redis (32 MB by default)"`
}

// Processor says where match lists come from.
type Processor struct {
	APIClientURL    Secret        `env:"FOGIS_API_CLIENT_URL" envDefault:"http://fogis-api-client-service:8080" secret:"url" meaning:"the source of match lists; /matches is appended"`
	Interval        time.Duration `env:"SERVICE_INTERVAL" envDefault:"300" meaning:"seconds between two cycles"`
	RunMode         RunMode       `env:"RUN_MODE" envDefault:"service" meaning:"service stays up; oneshot does one cycle"`
	PreviousMatches string        `env:"PREVIOUS_MATCHES_FILE" envDefault:"previous_matches.json" meaning:"match list that an outbox without one begins with, as the Python integration saved it (relative: in DATA_FOLDER); only the default may be missing"`
	LogLevel        LogLevel      `env:"LOG_LEVEL" envDefault:"INFO" meaning:"DEBUG, INFO, WARNING, ERROR or CRITICAL"`
	Timezone        string        `env:"MATCHRELAY_TIMEZONE" envDefault:"Europe/Stockholm" meaning:"what same day means"`

	// PreviousRequired says that PreviousMatches was set: the file must be there.
	PreviousRequired bool
	// Location is the loaded Timezone.
	Location *time.Location
	// MatchesURL is APIClientURL with /matches appended; it may hold credentials.
	MatchesURL Secret
}

// HTTP says where the API is served beside the control socket.
type HTTP struct {
	Addr  string `env:"MATCHRELAY_HTTP_ADDR" envDefault:"off" meaning:"loopback address and port of the API for processors in other languages, such as 127.0.0.1:8000; off: only the control socket"`
	Token Secret `env:"MATCHRELAY_HTTP_TOKEN" secret:"all" meaning:"bearer token that MATCHRELAY_HTTP_ADDR asks for; at least 16 characters"`
}

// On says whether the API is served.
func (h HTTP) On() bool { return h.Addr != "off" }

// Secret is text that must not be printed: every way of formatting it shows
// ***. Convert it with string() where it is needed.
type Secret string

// String hides the value.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString hides the value from %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the value from JSON and logs.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Size is a number of bytes.
type Size int64

// Receivers is the least number of subscribers that each topic waits for.
// Topics that are not in it wait for none.
type Receivers map[string]int

// PoisonPolicy says what happens to an event that cannot be published.
type PoisonPolicy string

// The policies.
const (
	Park  PoisonPolicy = "park"
	Block PoisonPolicy = "block"
)

// RunMode says whether a processor stays up.
type RunMode string

// The run modes.
const (
	Service RunMode = "service"
	OneShot RunMode = "oneshot"
)

// LogLevel is an slog level, written with the names that Python's logging has.
type LogLevel slog.Level

// Level makes LogLevel an slog.Leveler.
func (l LogLevel) Level() slog.Level { return slog.Level(l) }
