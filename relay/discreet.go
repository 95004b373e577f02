package relay

import (
	"context"
	"regexp"

	"github.com/redis/go-redis/v9"
)

// quotes is where an error begins to repeat what was sent or answered: Redis does so with the arguments of a command that it
// does not know, which may be AUTH with the password or one that carries events, and go-redis with a reply that it cannot read.
var quotes = regexp.MustCompile(`(, with args| in HELLO option|redis: (?:can't|invalid|expected|unexpected)[^"\n]*?|strconv\.\w+: parsing) ?(?:beginning with:|["']).*`)

// discreetError is an error without what it quotes. errors.Is and errors.As see the whole.
type discreetError struct {
	text string
	err  error
}

func (e *discreetError) Error() string { return e.text }

func (e *discreetError) Unwrap() error { return e.err }

// withoutQuotes is err, made discreet if it has to be.
func withoutQuotes(err error) error {
	if err == nil || !quotes.MatchString(err.Error()) {
		return err
	}
	return &discreetError{text: quotes.ReplaceAllString(err.Error(), "$1 (not shown)"), err: err}
}

// discreet is a redis.Hook that makes the errors of all commands discreet, those from setting up a connection included: so no
// password and no payload gets into logs, the health, alerts or the doctor's findings, whichever way an error goes there.
type discreet struct{}

// DialHook changes nothing: what is said while dialling comes out of the command that needs the connection.
func (discreet) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements redis.Hook.
func (discreet) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { return withoutQuotes(next(ctx, cmd)) }
}

// ProcessPipelineHook implements redis.Hook.
func (discreet) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			cmd.SetErr(withoutQuotes(cmd.Err()))
		}
		return withoutQuotes(err)
	}
}
