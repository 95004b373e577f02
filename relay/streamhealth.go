package relay

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// StreamHealth is how full the stream of a topic was when Redis was last asked, at the pace of the health checks.
type StreamHealth struct {
	Entries   int `json:"entries"`
	MaxUnread int `json:"max_unread"` // about so many are kept while consumer groups have still to read them
	// Slowest is the consumer group, or the reader with a name, that is furthest behind; "" when there is none.
	Slowest string `json:"slowest"`
	// Lag is how many entries it has still to be given or to acknowledge, -1 where Redis does not tell: before 7.0, and mostly for
	// readers with a name. Behind is how much older than the newest entry what it was given last, or has not acknowledged, is, in
	// seconds; -1 when it was given nothing yet.
	Lag    int     `json:"lag"`
	Behind float64 `json:"behind_seconds"`
}

// watchStreams asks now and then how full the streams are; what Redis does not tell does not show.
func (r *Relay) watchStreams(ctx context.Context) error {
	ticker := time.NewTicker(r.opts.HealthInterval)
	defer ticker.Stop()
	for r.opts.Streams {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		for _, l := range r.lanes {
			h, err := r.target.Stream(ctx, l.channel)
			if h.MaxUnread = r.opts.StreamMaxUnread; err != nil {
				l.status.setStream(nil)
			} else {
				l.status.setStream(&h)
			}
		}
	}
	return nil
}

// Stream implements Target.
func (r *Redis) Stream(ctx context.Context, channel string) (h StreamHealth, err error) {
	ctx, cancel := r.deadline(ctx, 0, 0)
	defer cancel()
	key := StreamKey(channel)
	length, err := r.client.XLen(ctx, key).Result()
	if err != nil || length == 0 {
		return h, err
	}
	groups, err := r.client.XInfoGroups(ctx, key).Result()
	if err != nil {
		return h, err
	}
	newest, err := newestScript.EvalSha(ctx, r.client, []string{key}, "+", 1, 0).StringSlice()
	if err != nil || len(newest) == 0 {
		return h, err
	}
	h.Entries = int(length)
	for _, g := range groups {
		id := g.LastDeliveredID
		if g.Pending > 0 {
			pending, err := r.client.XPending(ctx, key, g.Name).Result()
			if err != nil {
				return h, err
			}
			if entryTime(pending.Lower) < entryTime(id) {
				id = pending.Lower
			}
		}
		behind := max(0, float64(entryTime(newest[0])-entryTime(id))/1000)
		if entryTime(id) == 0 {
			behind = -1
		}
		if h.Slowest != "" && (h.Behind < 0 || behind >= 0 && behind <= h.Behind) {
			continue
		}
		h.Slowest, h.Behind, h.Lag = brief(g.Name, maxOrigin), behind, -1
		switch {
		case g.Lag >= 0:
			h.Lag = int(g.Lag + g.Pending)
		case id == newest[0]:
			h.Lag = 0
		}
	}
	return h, nil
}

// entryTime is the milliseconds of an entry's ID, 0 of one that is none.
func entryTime(id string) int64 {
	ms, _, _ := strings.Cut(id, "-")
	n, _ := strconv.ParseInt(ms, 10, 64)
	return n
}
