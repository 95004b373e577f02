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
		{scriptError("NOPERM User relay has no permissions to run the 'evalsha' command"), "NOPERM User relay has no permissions to run the 'evalsha' command"},
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

func TestNoErrorShowsTheCredentials(t *testing.T) {
	d := discreetAbout([]string{"s3cret", "", "abc"}, []string{"relay-7", "", "default", "redis"})
	for _, c := range []struct{ err, want string }{
		{"ERR your s3cret is wrong, and s3cret is what you said", "ERR your (not shown) is wrong, and (not shown) is what you said"},
		{"NOPERM User relay-7 has no permissions to run the 'evalsha' command", "NOPERM User (not shown) has no permissions to run the 'evalsha' command"},
		{"NOPERM this user is default", "NOPERM this user is default"},
		{"dial tcp: lookup redis.example.com: no such host for 'redis'", "dial tcp: lookup redis.example.com: no such host for '(not shown)'"},
		{"ERR abcdef is not abc", "ERR abcdef is not (not shown)"},
		{"ERR abc abc abc", "ERR (not shown) (not shown) (not shown)"},
		{"ERR \x1b[2J\x00\r\u202e\xff done", "ERR  [2J     done"},
		{"ERR " + strings.Repeat("x", 1<<20), "ERR " + strings.Repeat("x", 193) + "…"},
		{"ERR " + strings.Repeat("é", 1<<20), "ERR " + strings.Repeat("é", 96) + "…"},
		{"ERR " + strings.Repeat("s3cret", 1<<18), "ERR " + strings.Repeat("(not shown)", 17) + "(not s…"},
	} {
		err := d.of(scriptError(c.err))
		require.EqualError(t, err, c.want)
		require.LessOrEqual(t, len(err.Error()), shownOfReply)
		require.Equal(t, err, d.of(err), "once is enough")
		require.ErrorIs(t, err, scriptError(c.err), "what it means is known")
	}
	joined := discreet{}.of(errors.Join(slices.Repeat([]error{errors.New(strings.Repeat("x", 1000))}, 1000)...))
	require.LessOrEqual(t, len(joined.Error()), shownErrors*(shownOfErrors+2))
	require.Equal(t, redis.Nil, d.of(redis.Nil), "go-redis compares it")
	require.Nil(t, d.of(nil))
}
