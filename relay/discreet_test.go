package relay

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// The texts are those of Redis 5 to 7, and of go-redis.
func TestWhatAnErrorQuotesIsNotShown(t *testing.T) {
	_, malformed := strconv.ParseInt("s3cret", 10, 64)
	for _, c := range []struct {
		err  error
		want string
	}{
		{scriptError("ERR unknown command 'auth', with args beginning with: 'relay' 's3cret' "), "ERR unknown command 'auth', with args (not shown)"},
		{scriptError("ERR unknown command `auth`, with args beginning with: `s3cret`, "), "ERR unknown command `auth`, with args (not shown)"},
		{scriptError("ERR Syntax error in HELLO option 's3cret'"), "ERR Syntax error in HELLO option (not shown)"},
		{errors.New(`redis: can't parse int reply: "$s3cret"`), "redis: can't parse int reply: (not shown)"},
		{errors.New(`redis: can't parse reply="s3cret" reading string`), "redis: can't parse reply= (not shown)"},
		{errors.New(`redis: can't parse "s3\"cret"`), "redis: can't parse (not shown)"},
		{errors.New(`redis: invalid reply: "s3cret"`), "redis: invalid reply: (not shown)"},
		{malformed, "strconv.ParseInt: parsing (not shown)"},
		{errors.Join(scriptError("ERR unknown command 'auth', with args beginning with: 's3cret' "), errors.New("EOF")), "ERR unknown command 'auth', with args (not shown); EOF"},

		{scriptError("ERR unknown subcommand 'LIST'. Try CLIENT HELP."), "ERR unknown subcommand 'LIST'. Try CLIENT HELP."},
		{scriptError("NOPERM User relay has no permissions to run the 'evalsha' command"), "NOPERM User (not shown) has no permissions to run the 'evalsha' command"},
		{errors.New(`x509: certificate signed by unknown authority "us"`), `x509: certificate signed by unknown authority "us"`},
	} {
		err := discreet{}.of(fmt.Errorf("dial: %w", c.err))
		require.EqualError(t, err, "dial: "+c.want)
		require.ErrorIs(t, err, c.err)
		var reply, inner redis.Error
		require.Equal(t, errors.As(c.err, &inner), errors.As(err, &reply))
	}
	require.NoError(t, discreet{}.of(nil))
}

// The texts are those of Redis 5 to 8, Valkey, KeyDB and Sentinels.
func TestErrorReply_ReadsAsTheServerSaidIt(t *testing.T) {
	script := publishScript.Hash()
	for _, text := range []string{
		"NOSCRIPT No matching script. Please use EVAL.",
		"NOSCRIPT No matching script.",
		"OOM command not allowed when used memory > 'maxmemory'. script: " + script + ", on @user_script:47.",
		"ERR Error running script (call to f_" + script + "): @user_script:47: @user_script: 47: -OOM command not allowed when used memory > 'maxmemory'.",
		"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may modify the data set are disabled, because this instance is configured to report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB error.",
		"MISCONF Valkey is configured to save RDB snapshots, but it's currently unable to persist to disk.",
		"MISCONF Errors writing to the AOF file: No space left on device",
		"LOADING Redis is loading the dataset in memory",
		"LOADING KeyDB is loading the dataset in memory",
		"READONLY You can't write against a read only replica. script: " + script + ", on @user_script:47.",
		"READONLY You can't write against a read only slave.",
		"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
		"CLUSTERDOWN The cluster is down",
		"CLUSTERDOWN Hash slot not served",
		"TRYAGAIN Multiple keys request during rehashing of slot",
		"NOREPLICAS Not enough good replicas to write.",
		"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
		"MOVED 866 127.0.0.1:7001",
		"ERR max number of clients reached",
		"ERR max number of clients + cluster connections reached",
		"NOAUTH Authentication required.",
		"NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
		"ERR Protocol error: unauthenticated multibulk length",
		"ERR Protocol error: invalid bulk length",
		"WRONGPASS invalid username-password pair or user is disabled.",
		"ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
		"ERR Client sent AUTH, but no password is set",
		"DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user. In this mode connections are only accepted from the loopback interface.",
		"DENIED Redis is running in protected mode because protected mode is enabled, no bind address was specified, no authentication password is requested to clients.",
		"NOPERM this user has no permissions to run the 'evalsha' command or its subcommand",
		"NOPERM this user has no permissions to access one of the keys used as arguments",
		"NOPERM this user has no permissions to access one of the channels used as arguments",
		"NOPERM User default has no permissions to run the 'client|list' command",
		"NOPERM No permissions to access a key",
		"ERR The user executing the script can't run this command or subcommand script: " + script + ", on @user_script:56.",
		"ERR The user executing the script can't publish to the channel mentioned in the command",
		"ERR ACL failure in script: User default has no permissions to run the 'publish' command script: " + script + ", on @user_script:56.",
		"WRONGTYPE Operation against a key holding the wrong kind of value",
		"CROSSSLOT Keys in request don't hash to the same slot",
		"ERR unknown command 'EVALSHA'",
		"ERR Unknown Redis command called from script script: " + script + ", on @user_script:56.",
		"ERR Unknown command called from script",
		"ERR unknown subcommand 'LIST'. Try CLIENT HELP.",
		"ERR Unknown subcommand or wrong number of arguments for 'LIST'. Try CLIENT HELP.",
		"ERR wrong number of arguments for 'hello' command",
		"ERR This instance has cluster support disabled",
		"ERR DB index is out of range",
		"ERR SELECT is not allowed in cluster mode",
		"ERR The ID specified in XADD is equal or smaller than the target stream top item",
		"BUSYGROUP Consumer Group name already exists",
		"ERR No such master with that name",
		"IDONTKNOW I have not enough information to reply. Please ask another Sentinel.",
	} {
		require.EqualError(t, discreet{}.of(scriptError(text)), brief(text, shownOfReply))
	}
}

func TestErrorReply_ShowsNothingThatIsNotTheServersOwn(t *testing.T) {
	for text, want := range map[string]string{
		"ERR invalid user 'bob' with password hunter2":           "ERR (not shown) user (not shown)",
		"PROXYERR upstream redis://bob:hunter2@10.0.0.1 is gone": "PROXYERR (not shown)",
		"hunter2":                       "(not shown)",
		"Hunter":                        "(not shown)",
		"WRONGPASS bob:hunter2":         "WRONGPASS (not shown)",
		"ERR unknown command 'hunter2'": "ERR unknown command (not shown)",
		"NOPERM User bob has no permissions to run the 'hunter2' command": "NOPERM User (not shown) has no permissions to run the (not shown)",
		"NOGROUP No such key 'k' or consumer group 'g'":                   "NOGROUP No such key (not shown) or consumer group (not shown)",
		"MOVED 866 hunter2:7001":                                          "MOVED 866 (not shown)",
		"ERR LOADING hunter2 Authentication required. hunter2":            "ERR LOADING (not shown) Authentication required. (not shown)",
		"OOM command not allowed script: 0123456789abcdef":                "OOM command not allowed script: (not shown)",
		"ERR \x1b[2J\x00\r\u202e\xff done":                                "ERR (not shown)",
		"ERR " + strings.Repeat("x", 1<<20):                               "ERR (not shown)",
		"ERR " + strings.Repeat("LOADING hunter2 ", 1<<16):                "",
		"": "",
	} {
		err := discreet{}.of(fmt.Errorf("load script: %w", scriptError(text)))
		if want != "" {
			require.EqualError(t, err, "load script: "+want)
		}
		require.LessOrEqual(t, len(err.Error()), shownOfReply)
		require.NotContains(t, err.Error(), "unter")
		require.Same(t, err, discreet{}.of(err), "once is enough")
		require.True(t, errors.Is(err, scriptError(text)), "what it means is known: %.40s", text)
	}
}

func TestNoErrorShowsTheCredentials(t *testing.T) {
	d := discreetAbout([]string{"s3cret", "", "abc"}, []string{"relay-7", "", "default", "redis"})
	for _, c := range []struct{ err, want string }{
		{"your s3cret is wrong, and s3cret is what you said", "your (not shown) is wrong, and (not shown) is what you said"},
		{"it is of relay-7 alone", "it is of (not shown) alone"},
		{"this user is default", "this user is default"},
		{"dial tcp: lookup redis.example.com: no such host for 'redis'", "dial tcp: lookup redis.example.com: no such host for '(not shown)'"},
		{"abcdef is not abc", "abcdef is not (not shown)"},
		{"abc abc abc", "(not shown) (not shown) (not shown)"},
		{"a \x1b[2J\x00\r\u202e\xff done", "a  [2J     done"},
		{strings.Repeat("x", 1<<16), strings.Repeat("x", 497) + "…"},
		{strings.Repeat("é", 1<<16), strings.Repeat("é", 248) + "…"},
		{strings.Repeat("s3cret", 1<<14), strings.Repeat("(not shown)", 45) + "(n…"},
	} {
		inner := errors.New(c.err)
		err := d.of(inner)
		require.EqualError(t, err, c.want)
		require.LessOrEqual(t, len(err.Error()), shownOfErrors)
		require.Equal(t, err, d.of(err), "once is enough")
		require.ErrorIs(t, err, inner, "what it means is known")
	}
	joined := discreet{}.of(errors.Join(slices.Repeat([]error{errors.New(strings.Repeat("x", 1000))}, 1000)...))
	require.LessOrEqual(t, len(joined.Error()), shownErrors*(shownOfErrors+2))
	require.Equal(t, redis.Nil, d.of(redis.Nil), "go-redis compares it")
	require.Nil(t, d.of(nil))
}
