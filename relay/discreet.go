package relay

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"unicode"

	"github.com/redis/go-redis/v9"
)

// quotes is where an error of go-redis begins to repeat a reply that it cannot read.
var quotes = regexp.MustCompile(`(redis: (?:can't|invalid|expected|unexpected)[^"\n]*?|strconv\.\w+: parsing) ?["'].*`)

// What is shown of an error at most: bytes of Redis's own words, and of others', which may come with names out of a certificate;
// and how many errors that are joined.
const (
	shownOfReply  = 200
	shownOfErrors = 500
	shownErrors   = 5
)

const notShown = "(not shown)"

// discreetError is an error without what must not be shown. errors.Is and errors.As see the whole.
type discreetError struct {
	text string
	err  error
}

func (e *discreetError) Error() string { return e.text }

func (e *discreetError) Unwrap() error { return e.err }

// discreet makes errors fit to be shown, in logs, the health, alerts and the doctor's findings: one line, not too long, of Redis's
// replies only its own words, and without the credentials, in whatever words they come. It is a redis.Hook that does so with the errors of all
// commands, those from setting up a connection included.
type discreet struct{ secrets []*regexp.Regexp }

// discreetAbout keeps passwords secret, wherever they stand, and user names; those, and what is so short that it may be part of any
// word, where they stand by themselves. The name default is everybody's.
func discreetAbout(passwords, names []string) (d discreet) {
	alone := func(word string) *regexp.Regexp {
		return regexp.MustCompile(`(^|[\s"'=/])` + regexp.QuoteMeta(word) + `($|[\s"'@,;])`)
	}
	for _, word := range passwords {
		switch {
		case len(word) >= 4:
			d.secrets = append(d.secrets, regexp.MustCompile("()"+regexp.QuoteMeta(word)+"()"))
		case word != "":
			d.secrets = append(d.secrets, alone(word))
		}
	}
	for _, word := range names {
		if word != "" && word != "default" {
			d.secrets = append(d.secrets, alone(word))
		}
	}
	return d
}

// discreetClient keeps the credentials of a client secret.
func discreetClient(client redis.UniversalClient) discreet {
	switch c := client.(type) {
	case *redis.Client:
		return discreetAbout([]string{c.Options().Password}, []string{c.Options().Username})
	case *redis.ClusterClient:
		return discreetAbout([]string{c.Options().Password}, []string{c.Options().Username})
	}
	return discreet{}
}

// of is err, made discreet if it has to be.
func (d discreet) of(err error) error {
	if err == nil {
		return nil
	}
	most := shownOfErrors
	if reply := redis.Error(nil); errors.As(err, &reply) {
		most = shownOfReply
	}
	text := err.Error()
	for _, said := range replyTexts(err) {
		text = strings.ReplaceAll(text, said, wordsOf(said))
	}
	text = quotes.ReplaceAllString(text, "$1 "+notShown)
	for _, secret := range d.secrets {
		for range 2 { // what stands twice in a row shares the space between
			text = secret.ReplaceAllString(text, "${1}"+notShown+"${2}")
		}
	}
	lines := strings.SplitN(strings.TrimSpace(text), "\n", shownErrors+1)
	for i, line := range lines {
		lines[i] = brief(line, most)
	}
	if text = strings.Join(lines[:min(len(lines), shownErrors)], "; "); text == err.Error() {
		return err
	}
	return &discreetError{text: text, err: err}
}

// replyTexts are those of the error replies within an error, but for what is discreet already, and what go-redis says as if Redis had.
func replyTexts(err error) (texts []string) {
	switch e := err.(type) {
	case *discreetError:
	case redis.Error:
		if e != redis.Nil && e != redis.TxFailedErr {
			texts = append(texts, e.Error())
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			texts = append(texts, replyTexts(inner)...)
		}
	case interface{ Unwrap() error }:
		texts = replyTexts(e.Unwrap())
	}
	return texts
}

// brief is a text of somebody else's as it may be shown: at most so many bytes, of characters that can be printed.
func brief(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return ' '
	}, text[:min(len(text), 4*most)])
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-len("…")], "") + "…"
}

// DialHook changes nothing: what is said while dialling comes out of the command that needs the connection.
func (discreet) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements redis.Hook.
func (d discreet) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return d.of(next(ctx, cmd))
	}
}

// ProcessPipelineHook implements redis.Hook.
func (d discreet) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			cmd.SetErr(d.of(cmd.Err()))
		}
		return d.of(err)
	}
}
