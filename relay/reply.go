package relay

import (
	_ "embed"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/PitchConnect/matchrelay/outbox"
)

// readReply parses {status, seq, id, run_id, receivers, published, error, stream_seq, stream_id, unheard...}.
func readReply(cmd *redis.Cmd) (Reply, error) {
	values, err := cmd.Slice()
	if err != nil {
		return Reply{}, err
	}
	if len(values) < 9 {
		return Reply{}, fmt.Errorf("script answered %d values, expected at least 9", len(values))
	}
	p := replyParser{}
	reply := Reply{
		Outcome:   Outcome(p.text(values[0])),
		Mark:      outbox.Mark{Sequence: uint64(p.number(values[1])), MessageID: p.text(values[2])},
		Run:       p.text(values[3]),
		Receivers: int(p.number(values[4])),
		Published: int(p.number(values[5])),
		Added:     outbox.Mark{Sequence: uint64(p.number(values[7])), MessageID: p.text(values[8])},
	}
	if text := p.text(values[6]); text != "" {
		reply.Err = scriptError(text)
	}
	for _, v := range values[9:] {
		reply.Unheard = append(reply.Unheard, uint64(p.number(v)))
	}
	return reply, p.err
}

type replyParser struct{ err error }

func (p *replyParser) text(v any) string {
	s, ok := v.(string)
	if !ok {
		p.err = fmt.Errorf("script answered a %T, expected text", v)
	}
	return s
}

func (p *replyParser) number(v any) int64 {
	if n, ok := v.(int64); ok {
		return n
	}
	n, err := strconv.ParseInt(p.text(v), 10, 64)
	if err != nil && p.err == nil {
		p.err = fmt.Errorf("script answered a malformed number")
	}
	return n
}

// scriptError is an error that a command within a script met with. Redis passes its text only.
type scriptError string

func (e scriptError) Error() string { return string(e) }

// RedisError makes it one for go-redis.
func (scriptError) RedisError() {}
