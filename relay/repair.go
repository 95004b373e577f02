package relay

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
)

// restore gives Redis back the mark that it has lost, and the stream the events that it has lost with it: without PUBLISH,
// for subscribers had them. Each call moves the mark, if nobody else has done so meanwhile: whoever is interrupted, or comes
// second, looks again and goes on from there.
func (l *lane) restore(ctx context.Context, reply Reply, p outbox.Position) error {
	accepted, found := l.progress.Accepted, reply.Mark
	var held outbox.Mark
	from := accepted.Sequence
	if l.stream != nil {
		var err error
		if held, err = l.held(ctx, reply.Added); err != nil {
			return err
		}
		if known, err := l.knows(ctx, held, p); err != nil {
			return err
		} else if !known {
			return l.newOrigin(ctx, held)
		}
		oldest, err := l.r.source.Back(ctx, l.topic, accepted.Sequence, l.stream.MaxLen)
		if err != nil {
			return err
		}
		from = max(held.Sequence, oldest)
	}
	readded := 0
	for step := l.repair(found, held); ; {
		events, err := l.missing(ctx, from)
		if err != nil {
			return err
		}
		step.Gone = reply.Outcome == Gone && readded == 0
		step.Events, step.Mark = events, accepted
		if n := len(events); n > 0 {
			from = events[n-1].Sequence
			step.Mark, step.Added = mark(events[n-1]), mark(events[n-1])
		}
		answer, err := l.r.target.Restore(ctx, step)
		switch {
		case err != nil:
			return classify(err)
		case answer.Outcome == Refused:
			return refused(answer.Err)
		case answer.Outcome != OK:
			return nil // somebody else has changed it: look again
		}
		readded += len(events)
		if step.Mark == accepted {
			break
		}
		step.Reported = step.Mark
	}
	l.status.forgot(readded)
	again := ""
	if l.stream != nil {
		again = fmt.Sprintf(", and %d events are in its stream again", readded)
	}
	l.r.alerts.raise(ctx, Alert{Kind: "redis_amnesia", Topic: l.topic, Time: time.Now(), Message: fmt.Sprintf(
		"Redis had forgotten what it accepted of %s: its high-water mark was #%d and is restored to #%d%s; unless REDIS_URL or the channel was changed, check its persistence, eviction policy (noeviction) and failovers",
		l.topic, found.Sequence, accepted.Sequence, again)})
	return nil
}

func (l *lane) repair(reported, added outbox.Mark) Repair {
	return Repair{Channel: l.channel, Origin: l.origin, Reported: reported, Added: added, Stream: l.stream}
}

// held is the last event of this origin that the stream was given, as far as Redis remembers: what is in the stream, or what
// the mark says when the stream was cut by hand.
func (l *lane) held(ctx context.Context, marked outbox.Mark) (outbox.Mark, error) {
	newest, _, err := l.r.target.Newest(ctx, l.channel, l.origin, "")
	if err != nil {
		return newest, classify(err)
	}
	if marked.Sequence > newest.Sequence {
		newest = marked
	}
	return newest, nil
}

// missing reads the next events up to the last accepted one, as many as one call takes, without damaged ones.
func (l *lane) missing(ctx context.Context, after uint64) ([]outbox.Entry, error) {
	for through := l.progress.Accepted.Sequence; after < through; {
		entries, err := l.r.source.Read(ctx, outbox.Range{Topic: l.topic, After: after, Through: through, Events: batchEvents, Bytes: batchBytes})
		if err != nil || len(entries) == 0 {
			return nil, err
		}
		after = entries[len(entries)-1].Sequence
		if whole := slices.DeleteFunc(entries, func(e outbox.Entry) bool { return e.Err != nil }); len(whole) > 0 {
			return whole, nil
		}
	}
	return nil, nil
}

// inherit looks for what the stream has got of the pending events under the file's previous origin: when an older copy of
// the file was put back, it may have been given some of them already, and it never holds an event twice.
func (l *lane) inherit(ctx context.Context) (done bool, err error) {
	for before := ""; ; {
		m, entry, err := l.r.target.Newest(ctx, l.channel, l.previous, before)
		if err != nil {
			return false, classify(err)
		}
		if m.Sequence <= l.sent {
			l.previous = ""
			return true, nil
		}
		if known, err := l.knows(ctx, m, outbox.Position{}); err != nil {
			return false, err
		} else if known {
			answer, err := l.r.target.Restore(ctx, l.repair(outbox.Mark{}, m))
			if err != nil {
				return false, classify(err)
			}
			if answer.Outcome == OK {
				l.added, l.previous = m, ""
			}
			return answer.Outcome == OK, nil
		}
		before = entry
	}
}
