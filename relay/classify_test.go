package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// The texts are those of Redis 6.0, 6.2 and 7.0, on the wire and from inside a script.
func TestWhoseFaultAnErrorIs(t *testing.T) {
	reply := func(text string) error { return scriptError(text) }
	network := func(err error) error {
		return &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", err)}
	}
	sentinels := func(answers ...error) error { // as go-redis puts them together
		return &SentinelError{Master: "main", Err: fmt.Errorf("redis: all sentinels specified in configuration are unreachable: %w", errors.Join(answers...))}
	}
	for _, c := range []struct {
		name    string
		err     error
		class   Class
		suspect bool
		mend    string // in the mend; "" means that there is none
	}{
		{"connection refused", network(syscall.ECONNREFUSED), Outage, false, ""},
		{"no route", network(syscall.EHOSTUNREACH), Outage, false, ""},
		{"connection reset, as after an event that is too large", network(syscall.ECONNRESET), Outage, true, "maxclients"},
		{"broken pipe", network(syscall.EPIPE), Outage, true, "maxclients"},
		{"the server hung up", io.EOF, Outage, true, "maxclients"},
		{"the server hung up in the middle of an answer", io.ErrUnexpectedEOF, Outage, true, "maxclients"},
		{"closed under our hands", fmt.Errorf("read: %w", net.ErrClosed), Outage, true, "maxclients"},
		{"time-out of a call", context.DeadlineExceeded, Outage, false, "REDIS_SOCKET_TIMEOUT"},
		{"time-out of the network", network(syscall.ETIMEDOUT), Outage, false, "REDIS_SOCKET_TIMEOUT"},
		{"no free connection", redis.ErrPoolTimeout, Outage, false, ""},
		{"a closed client", redis.ErrClosed, Outage, false, ""},
		{"an unknown host", &net.DNSError{Err: "no such host", Name: "fogis-redis"}, Outage, false, "host name"},
		{"an answer that is none", errors.New("script answered 3 values"), Outage, false, ""},

		{"an unknown authority", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, Denied, false, "REDIS_TLS_CA"},
		{"no TLS on the other side", tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, Denied, false, "rediss://"},
		{"a missing client certificate", &net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}, Denied, false, "REDIS_TLS_CERT"},

		{"Sentinels that are away", sentinels(network(syscall.ECONNREFUSED), context.DeadlineExceeded), Outage, false, "REDIS_SENTINEL_MASTER"},
		{"Sentinels behind an unknown host", sentinels(&net.DNSError{Err: "no such host", Name: "s1"}), Outage, false, "addresses in REDIS_URL"},
		{"Sentinels that know no such master", sentinels(redis.Nil, redis.Nil), Denied, false, "correct REDIS_SENTINEL_MASTER"},
		{"one Sentinel that knows no such master, others away", sentinels(network(syscall.ECONNREFUSED), redis.Nil), Denied, false, "correct REDIS_SENTINEL_MASTER"},
		{"a wrong password of the Sentinels", sentinels(io.EOF, reply("WRONGPASS invalid username-password pair or user is disabled.")), Denied, false, "the one in REDIS_URL"},
		{"no password for the Sentinels", sentinels(reply("NOAUTH Authentication required.")), Denied, false, "the one in REDIS_URL"},
		{"a password too many for the Sentinels", sentinels(reply("ERR AUTH <password> called without any password configured for the default user.")), Denied, false, "REDIS_PASSWORD"},
		{"a Redis instead of Sentinels", sentinels(reply("ERR unknown command 'sentinel', with args beginning with: ")), Denied, false, "names no Sentinels"},
		{"no rights at the Sentinels", sentinels(reply("NOPERM this user has no permissions to run the 'sentinel|get-master-addr-by-name' command")), Denied, false, "Sentinels' user"},
		{"Sentinels with an unknown authority", sentinels(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}), Denied, false, "REDIS_TLS_CA"},

		{"no script", reply("NOSCRIPT No matching script. Please use EVAL."), Reload, false, ""},
		{"out of memory", reply("OOM command not allowed when used memory > 'maxmemory'."), Full, false, "maxmemory"},
		{"out of memory, inside a script of Redis 6", reply("ERR Error running script (call to f_0fee): @user_script:47: @user_script: 47: -OOM command not allowed when used memory > 'maxmemory'. "), Full, false, "maxmemory"},
		{"cannot save", reply("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk."), Full, false, "disk"},
		{"loading", reply("LOADING Redis is loading the dataset in memory"), Outage, false, ""},
		{"a replica", reply("READONLY You can't write against a read only replica. script: 0fee, on @user_script:47."), Outage, false, "master"},
		{"a replica without its master", reply("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."), Outage, false, ""},
		{"a Cluster that is down", reply("CLUSTERDOWN The cluster is down"), Outage, false, ""},
		{"a slot on its way", reply("TRYAGAIN Multiple keys request during rehashing of slot"), Outage, false, ""},
		{"too few replicas", reply("NOREPLICAS Not enough good replicas to write."), Outage, false, "min-replicas"},
		{"another node's slot", reply("MOVED 3999 127.0.0.1:6381"), Outage, false, "nodes"},
		{"another node's slot for once", reply("ASK 3999 127.0.0.1:6381"), Outage, false, ""},
		{"busy", reply("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."), Outage, false, "SCRIPT KILL"},
		{"too many clients of a Cluster", reply("ERR max number of clients + cluster connections reached"), Outage, false, "maxclients"},
		{"too many clients", reply("ERR max number of clients reached"), Outage, false, "maxclients"},

		{"no login", reply("NOAUTH Authentication required."), Denied, false, "REDIS_PASSWORD"},
		{"no login, a long command", reply("ERR Protocol error: unauthenticated multibulk length"), Denied, false, "REDIS_PASSWORD"},
		{"a wrong password", reply("WRONGPASS invalid username-password pair or user is disabled."), Denied, false, "correct"},
		{"a password too many", reply("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"), Denied, false, "remove REDIS_PASSWORD"},
		{"protected mode", reply("DENIED Redis is running in protected mode because protected mode is enabled"), Denied, false, "bind"},
		{"no right to a command", reply("NOPERM this user has no permissions to run the 'evalsha' command or its subcommand"), Denied, false, "+evalsha"},
		{"no right to a command, Redis 7", reply("NOPERM User relay has no permissions to run the 'evalsha' command"), Denied, false, "+evalsha"},
		{"no right to a command inside a script", reply("ERR The user executing the script can't run this command or subcommand script: 0fee, on @user_script:56."), Denied, false, "+publish"},
		{"no right to a key inside a script", reply("ERR The user executing the script can't access at least one of the keys mentioned in the command arguments script: 0fee, on @user_script:14."), Denied, false, "~matchrelay:*"},
		{"no right, Redis 7.2", reply("ERR ACL failure in script: User relay has no permissions to run the 'publish' command"), Denied, false, "+publish"},
		{"a key of another kind", reply("WRONGTYPE Operation against a key holding the wrong kind of value"), Denied, false, "rename or delete"},
		{"keys in two slots", reply("CROSSSLOT Keys in request don't hash to the same slot"), Denied, false, "keys"},
		{"a command that is not there", reply("ERR unknown command 'EVALSHA', with args beginning with: "), Denied, false, "matchrelay doctor tells which"},
		{"a login that is not there", reply("ERR unknown command 'auth', with args beginning with: 'pw' "), Denied, false, "remove REDIS_PASSWORD"},
		{"a login that is not there, Redis 5", reply("ERR unknown command `auth`, with args beginning with: `pw`, "), Denied, false, "remove REDIS_PASSWORD"},
		{"a command that is not there, inside a script", reply("ERR Unknown Redis command called from script script: 0fee, on @user_script:56."), Denied, false, "matchrelay doctor tells which"},
		{"anything else that Redis says", reply("ERR Protocol error: invalid bulk length"), Outage, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := classify(fmt.Errorf("publish: %w", c.err))
			require.Equal(t, c.class, f.class)
			require.Equal(t, c.suspect, f.suspect)
			require.ErrorIs(t, f, f.err)
			require.Contains(t, f.Error(), string(c.class)+": publish: ")
			if c.mend == "" {
				require.Empty(t, f.mend)
			} else {
				require.Contains(t, f.mend, c.mend)
				require.Contains(t, f.Error(), "; "+f.mend)
			}
		})
	}
}

func TestNoEventIsSuspectedOfWhatPublishSaysInsideTheScript(t *testing.T) {
	require.Equal(t, Full, refused(scriptError("OOM command not allowed")).class)
	f := refused(scriptError("ERR something new"))
	require.Equal(t, Denied, f.class)
	require.False(t, f.suspect)
	require.NotEmpty(t, f.mend)
}
