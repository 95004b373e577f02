package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// Class says whose fault a failure is, and so what the relay does about it.
type Class string

// Classes of failures. Only Poison costs an event an attempt.
const (
	Outage  Class = "outage"  // Redis is away, loading, failing over, busy: retry for ever
	Full    Class = "full"    // Redis cannot store anything: retry for ever, alert
	Denied  Class = "refused" // credentials, rights or keys are wrong: retry slowly, alert with the mend
	Reload  Class = "reload"  // Redis does not know the script: load it and resend at once
	Poison  Class = "poison"  // the event itself fails, while everything else works
	Damaged Class = "damaged" // the event's record in the outbox fails its checksum, or pages of it are damaged

	diskFull Class = "disk full" // of the outbox
)

// failure is a classified error.
type failure struct {
	class Class
	mend  string // what an operator can do, "" when waiting is all
	// suspect: the error could be the event's fault as well as the channel's: Redis answers an event that is too large
	// by closing the connection, and an unknown error may be about anything.
	suspect bool
	err     error
}

// byText maps the codes and phrases of Redis's error replies. Errors from inside a script come with text before and
// after the code, so the whole text is searched; the first that is found decides.
var byText = []struct {
	text  string
	class Class
	mend  string
}{
	{"NOSCRIPT", Reload, ""},
	{"OOM ", Full, "raise maxmemory of Redis, or free memory"},
	{"MISCONF", Full, "Redis cannot write its snapshot or AOF: free disk space there, see its log"},
	{"LOADING", Outage, ""},
	{"READONLY", Outage, "this Redis is a replica: point REDIS_URL to the master, or wait for the failover"},
	{"MASTERDOWN", Outage, ""},
	{"CLUSTERDOWN", Outage, ""},
	{"TRYAGAIN", Outage, ""},
	{"NOREPLICAS", Outage, "Redis wants more replicas (min-replicas-to-write)"},
	{"MOVED ", Outage, "this Redis is part of a Cluster: give several of its nodes in REDIS_URL, with commas"},
	{"ASK ", Outage, ""},
	{"BUSY ", Outage, "another script keeps Redis busy (SCRIPT KILL ends it)"},
	{"max number of clients", Outage, "raise maxclients of Redis"},
	{"NOAUTH", Denied, "set REDIS_PASSWORD (and REDIS_USERNAME)"},
	{"Protocol error: unauthenticated", Denied, "set REDIS_PASSWORD (and REDIS_USERNAME)"}, // how a long command without AUTH ends
	{"WRONGPASS", Denied, "correct REDIS_USERNAME and REDIS_PASSWORD"},
	{"AUTH failed", Denied, "correct REDIS_USERNAME and REDIS_PASSWORD"},
	{"called without any password configured", Denied, "this Redis has no password: remove REDIS_PASSWORD"},
	{"DENIED Redis is running in protected mode", Denied, "give Redis a password, or let it bind to the right addresses"},
	{"NOPERM", Denied, mendRights},
	{"user executing the script can't", Denied, mendRights},
	{"ACL failure in script", Denied, mendRights},
	{"WRONGTYPE", Denied, "a key named matchrelay:* or {<channel>}:stream is something else: rename or delete it in Redis"},
	{"CROSSSLOT", Denied, "this Redis spreads keys in a way that scripts cannot follow"},
	{"unknown command 'auth'", Denied, mendAuth}, // what go-redis gives when it connects
	{"unknown command `auth`", Denied, mendAuth}, // the same before Redis 7
	{"unknown command", Denied, mendCommands},
	{"nknown subcommand", Denied, mendCommands},
	{"Unknown Redis command called from", Denied, mendCommands},
}

var mendRights = "give the Redis user these rights: ~matchrelay:* &<channels>" + rightsOf(Always, false) + " (with streams also ~{<channel>}:stream" +
	rightsOf(Streams, false) + "; with RELAY_WAIT_REPLICAS" + rightsOf(Replicas, false) + "; in a Cluster" + rightsOf(Cluster, false) +
	"; better with" + rightsOf(Always, true) + "); matchrelay doctor tells which are missing"

const mendAuth = "this Redis lacks or renames AUTH and HELLO: give them back their names, or remove REDIS_PASSWORD"

const mendCommands = "this Redis lacks or renames a command that matchrelay needs; matchrelay doctor tells which"

const mendStrange = "check REDIS_URL and what stands between: that is no Redis, one that is broken, or another program writes keys named matchrelay:*"

const mendTimeout = "if this lasts, see whether Redis hangs; if it does not, raise REDIS_SOCKET_TIMEOUT: the connection is slow, or an event large"

// unreadable is how go-redis begins when it cannot read a reply.
var unreadable = regexp.MustCompile(`redis: (?:can't parse|invalid reply|expected|unexpected|got \d+ elements|the length of)|strconv\.\w+: parsing`)

// classify tells the classes apart; err is not nil.
func classify(err error) failure {
	f := failure{class: Outage, err: err}
	var reply redis.Error
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var dns *net.DNSError
	var replicas *ReplicasError
	var dial *DialError
	var sentinel *SentinelError
	var odd strangeError
	switch {
	case errors.As(err, &odd), errors.Is(err, redis.Nil) && !errors.As(err, &sentinel), unreadable.MatchString(err.Error()):
		f.mend = mendStrange
	case errors.As(err, &sentinel):
		return classifySentinel(err, sentinel)
	case errors.As(err, &replicas):
		f.mend = "check Redis's replicas, or lower RELAY_WAIT_REPLICAS"
	case errors.As(err, &certificate), errors.As(err, &record), strings.Contains(err.Error(), "remote error: tls:"): // untyped
		f.class, f.mend = Denied, "check rediss://, REDIS_TLS_CA, REDIS_TLS_CERT and REDIS_TLS_KEY"
	case errors.As(err, &dns):
		f.mend = "check the host name in REDIS_URL"
	case errors.As(err, &dial) && dial.TLS && isTimeout(err):
		f.mend = "check the address; if that port takes no TLS, REDIS_URL must begin with redis:// instead of rediss://"
	case errors.As(err, &dial) && !dial.TLS && isClosed(err):
		f.mend = "check the address; if that port takes TLS only, REDIS_URL must begin with rediss:// instead of redis://; if it does not, see the log of Redis (maxclients, protected-mode)"
	case errors.As(err, &dial):
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrClosed):
	case isTimeout(err):
		f.mend = mendTimeout
	case isClosed(err):
		f.suspect, f.mend = true, "if this lasts, see the log of Redis: it closes connections for maxclients, protected-mode or client-query-buffer-limit"
	case errors.As(err, &reply):
		for _, known := range byText {
			if strings.Contains(reply.Error(), known.text) {
				f.class, f.mend = known.class, known.mend
				return f
			}
		}
		f.suspect = true
	}
	return f
}

// refused classifies the error of a PUBLISH or XADD within the script. No event can be at fault for that one: they look at
// neither channel nor body. So what is not known is the channel's fault, too.
func refused(err error) failure {
	f := classify(err)
	if f.suspect {
		f = failure{class: Denied, mend: "Redis takes no PUBLISH or XADD from a script: see its log", err: err}
	}
	return f
}

// isClosed says whether the other side, or somebody between, has closed the connection.
func isClosed(err error) bool {
	for _, closed := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed} {
		if errors.Is(err, closed) {
			return true
		}
	}
	return false
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
