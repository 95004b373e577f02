package relay

import (
	"errors"
	"fmt"
	"strconv"
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
		{errors.Join(scriptError("ERR unknown command 'auth', with args beginning with: 's3cret' "), errors.New("EOF")), "ERR unknown command 'auth', with args (not shown)\nEOF"},

		{scriptError("ERR unknown subcommand 'LIST'. Try CLIENT HELP."), "ERR unknown subcommand 'LIST'. Try CLIENT HELP."},
		{scriptError("NOPERM User relay has no permissions to run the 'evalsha' command"), "NOPERM User relay has no permissions to run the 'evalsha' command"},
		{errors.New(`x509: certificate signed by unknown authority "us"`), `x509: certificate signed by unknown authority "us"`},
	} {
		err := withoutQuotes(fmt.Errorf("dial: %w", c.err))
		require.EqualError(t, err, "dial: "+c.want)
		require.ErrorIs(t, err, c.err)
		var reply, inner redis.Error
		require.Equal(t, errors.As(c.err, &inner), errors.As(err, &reply))
	}
	require.NoError(t, withoutQuotes(nil))
}
