package relay

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/PitchConnect/matchrelay/outbox"
)

// Bounds of what the scripts answer.
const (
	maxSequence  = 1<<53 - 1     // what numbers in Redis's scripts hold exactly
	maxReceivers = math.MaxInt32 // more connections than any server has
	maxUnheard   = keptUnheard + batchEvents
)

var (
	messageIDForm = regexp.MustCompile(`^[!-~]{1,64}$`) // as the outbox has them
	runIDForm     = regexp.MustCompile(`^[0-9a-fA-F]{0,64}$`)
	entryIDForm   = regexp.MustCompile(`^[0-9]{1,20}-[0-9]{1,20}$`)
)

// readReply parses {status, seq, id, run_id, receivers, published, error, stream_seq, stream_id, unheard...}. What no script of
// the relay can have answered is an error, and so is everything that the outbox would refuse.
func readReply(cmd *redis.Cmd) (Reply, error) {
	values, err := cmd.Slice()
	if err != nil {
		if cmd.Err() == nil {
			err = strange("a script answered no list")
		}
		return Reply{}, err
	}
	if len(values) < 9 || len(values) > 9+maxUnheard {
		return Reply{}, strange("a script answered %d values; expected 9 to %d", len(values), 9+maxUnheard)
	}
	p := replyParser{}
	reply := Reply{
		Outcome:   Outcome(p.text(values[0])),
		Mark:      p.mark(values[1], values[2]),
		Run:       p.text(values[3]),
		Receivers: int(p.number(values[4], -1, maxReceivers)),
		Published: int(p.number(values[5], 0, batchEvents)),
		Added:     p.mark(values[7], values[8]),
	}
	switch reply.Outcome {
	case OK, TooFew, Lost, Gone, OtherRun, Refused:
	default:
		p.fail("an outcome that is none")
	}
	if !runIDForm.MatchString(reply.Run) {
		p.fail("a run_id that is none")
	}
	if text := p.text(values[6]); text != "" {
		reply.Err = scriptError(text)
	}
	if (reply.Err != nil) != (reply.Outcome == Refused) {
		p.fail("an outcome that does not fit the error")
	}
	for _, v := range values[9:] {
		reply.Unheard = append(reply.Unheard, uint64(p.number(v, 1, maxSequence)))
	}
	if p.err != nil {
		return Reply{}, p.err
	}
	return reply, nil
}

// replyParser reads what a script answers; err is what was wrong first.
type replyParser struct{ err error }

func (p *replyParser) fail(what string) {
	if p.err == nil {
		p.err = strange("a script answered %s", what)
	}
}

func (p *replyParser) text(v any) string {
	s, ok := v.(string)
	if !ok {
		p.fail("something else where text belongs")
	}
	return s
}

func (p *replyParser) number(v any, least, most int64) int64 {
	n, ok := v.(int64)
	if !ok {
		var err error
		if n, err = strconv.ParseInt(p.text(v), 10, 64); err != nil {
			p.fail("a number that is none")
		}
	}
	if n < least || n > most {
		p.fail("a number that is impossible")
	}
	return n
}

// mark reads a high-water mark; the zero one has no message ID.
func (p *replyParser) mark(sequence, id any) outbox.Mark {
	m := outbox.Mark{Sequence: uint64(p.number(sequence, 0, maxSequence)), MessageID: p.text(id)}
	if m != (outbox.Mark{}) && (m.Sequence == 0 || !messageIDForm.MatchString(m.MessageID)) {
		p.fail("a high-water mark that is none")
	}
	return m
}

// readEntries parses {entry ID, origin, sequence, message ID} of each entry of a stream, the latest first, all before one with an
// ID, if there is one. What is no event of a relay has the zero mark.
func readEntries(values []string, before string) ([]Entry, error) {
	if len(values)%4 != 0 || len(values) > 4*batchEvents {
		return nil, strange("a script answered %d values; expected four for each of at most %d entries", len(values), batchEvents)
	}
	var list []Entry
	for v := range slices.Chunk(values, 4) {
		if !entryIDForm.MatchString(v[0]) || before != "" && !entryBefore(v[0], before) {
			return nil, strange("a stream's entries have IDs that are none, or out of order")
		}
		before = v[0]
		e := Entry{ID: v[0], Origin: v[1]}
		sequence, err := strconv.ParseUint(v[2], 10, 64)
		if err == nil && sequence <= maxSequence && messageIDForm.MatchString(v[3]) {
			e.Mark = outbox.Mark{Sequence: sequence, MessageID: v[3]}
		}
		list = append(list, e)
	}
	return list, nil
}

// entryBefore compares two IDs of a stream's entries.
func entryBefore(a, b string) bool {
	one, other := strings.Split(a, "-"), strings.Split(b, "-")
	for i := range one {
		one[i], other[i] = fmt.Sprintf("%020s", one[i]), fmt.Sprintf("%020s", other[i])
	}
	return slices.Compare(one, other) < 0
}

// scriptError is an error that a command within a script met with. Redis passes its text only.
type scriptError string

func (e scriptError) Error() string { return string(e) }

// RedisError makes it one for go-redis.
func (scriptError) RedisError() {}
