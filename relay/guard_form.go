package relay

import (
	"bytes"
	"regexp"
	"slices"
)

// What the replies on a connection must look like. go-redis takes the elements of some for granted, and panics where they are
// others, in goroutines of its own.
const (
	anything int32 = iota // go-redis looks for itself
	entries               // of a stream: the same, but they may be large
	pushes                // of a subscription: large, too
	address               // of the master, from a Sentinel
)

// formed says whether they are looked at here.
func formed(asked int32) bool { return asked >= pushes }

var (
	subscription = regexp.MustCompile(`^\*\d+\r\n\$\d+\r\n(?i:[ps]?subscribe)\r\n`)
	streamRead   = regexp.MustCompile(`^(?:\*1\r\n\$6\r\nasking\r\n)?\*\d+\r\n\$\d+\r\n(?i:xread|xreadgroup|xrange|xrevrange|xclaim|xautoclaim|xack)\r\n`)
	whereMaster  = regexp.MustCompile(`^\*\d+\r\n\$\d+\r\n(?i:sentinel)\r\n\$\d+\r\n(?i:get-master-addr-by-name)\r\n`)
)

// answersTo says what a command's replies must look like.
func answersTo(command []byte) int32 {
	switch command = command[:min(len(command), 64)]; {
	case subscription.Match(command):
		return pushes
	case streamRead.Match(command): // or, with XACK, a pipeline that may go on with it
		return entries
	case whereMaster.Match(command):
		return address
	}
	return anything
}

// form is what a reply looks like: the kinds of its elements, and how each begins.
type form struct {
	array bool
	kinds []byte // as on the wire, or 0 for what is nil
	texts [4][]byte
}

// formText is how much of an element is kept. What a Sentinel tells of a failover has two addresses.
const formText = 1 << 10

// element takes note of one, n long, within so many arrays.
func (f *form) element(kind byte, n, depth int) {
	switch {
	case depth == 0 && kind == '*':
		f.array = n >= 0
	case depth == 1 && len(f.kinds) <= len(f.texts): // one more is enough to see that there are too many
		if n == -1 || kind == '_' {
			kind = 0
		}
		f.kinds = append(f.kinds, kind)
	}
}

// text takes note of a piece of the string that was announced last.
func (f *form) text(piece []byte) {
	if i := len(f.kinds) - 1; i >= 0 && i < len(f.texts) && f.kinds[i] == '$' {
		f.texts[i] = append(f.texts[i], piece[:min(len(piece), formText-len(f.texts[i]))]...)
	}
}

func (f *form) word(i int) string { return string(bytes.TrimSuffix(f.texts[i], []byte("\r\n"))) }

// check says whether the reply looks as go-redis takes for granted.
func (f *form) check(asked int32) error {
	if !f.array {
		return nil
	}
	looks := func(forms ...string) bool { return slices.Contains(forms, string(f.kinds)) }
	right := false
	switch word := f.word(0); {
	case asked == address:
		right = looks("$$")
	case slices.Contains([]string{"subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ssubscribe", "sunsubscribe"}, word):
		right = looks("$$:", "$\x00:")
	case word == "message" || word == "smessage":
		right = looks("$$$") && (f.word(1) != "+switch-master" || bytes.Count(f.texts[2], []byte(" ")) >= 4)
	case word == "pmessage":
		right = looks("$$$$")
	case word == "pong":
		right = looks("$$")
	}
	if !right {
		return strange("a reply of another form than the command has")
	}
	return nil
}
