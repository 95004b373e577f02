package relay

import (
	"context"

	"github.com/PitchConnect/matchrelay/outbox"
)

// stray says whether a mark is that of another topic of this file, whose channel this one was before: it says nothing of this
// topic. What retention has removed cannot be compared; what this topic does not have was another's then.
func (l *lane) stray(ctx context.Context, m outbox.Mark, p outbox.Position) (bool, error) {
	if m.Sequence == 0 || m.Sequence == l.progress.Accepted.Sequence {
		return false, nil
	}
	id, err := l.r.source.MessageID(ctx, "", m.Sequence)
	if err != nil || id != "" && id != m.MessageID {
		return false, err
	}
	if id != "" {
		own, err := l.r.source.MessageID(ctx, l.topic, m.Sequence)
		return own == "", err
	}
	for _, other := range l.r.lanes {
		if other == l || m.Sequence <= p.PrunedTo {
			continue
		}
		if p, err := l.r.source.Position(ctx, other.topic); err != nil || m.Sequence <= p.PrunedTo {
			return err == nil, err
		}
	}
	return false, nil
}

// takeOver gives the channel of another topic the marks of this one, and its stream what that lacks.
func (l *lane) takeOver(ctx context.Context, reply Reply, p outbox.Position) error {
	l.log.Warn("the channel was another topic's before: its high-water mark becomes that of this one, and its stream is given what the topic has retained",
		"channel", l.channel)
	return l.repair(ctx, reply, p, nil)
}
