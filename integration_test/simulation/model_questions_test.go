package simulation

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// mark draws one that is there, one that was, or one that never was.
func (p *pair) mark(t *rapid.T, name string, likely outbox.Mark) outbox.Mark {
	if rapid.IntRange(0, 3).Draw(t, name) > 0 {
		return likely
	}
	return p.event(t, name+" of").mark()
}

type drawn struct {
	n  uint64
	id string
}

func (d drawn) mark() outbox.Mark { return outbox.Mark{Sequence: d.n, MessageID: d.id} }

// event draws one of a few, so that they meet again.
func (p *pair) event(t *rapid.T, name string) drawn {
	n := rapid.Uint64Range(0, 8).Draw(t, name)
	if n == 0 {
		return drawn{}
	}
	return drawn{n, rapid.SampledFrom([]string{"m", "m", "m", "other"}).Draw(t, name+" ID") + "-" + strconv.FormatUint(n, 10)}
}

// events draws some that follow each other.
func (p *pair) events(t *rapid.T, after uint64) (list []outbox.Entry) {
	n := rapid.IntRange(1, 4).Draw(t, "events")
	at := after
	if rapid.IntRange(0, 3).Draw(t, "from") == 0 {
		at = rapid.Uint64Range(0, 6).Draw(t, "after")
	}
	for range n {
		at += rapid.Uint64Range(1, 2).Draw(t, "step")
		id := fmt.Sprint(rapid.SampledFrom([]string{"m", "m", "m", "m", "other"}).Draw(t, "ID"), "-", at)
		list = append(list, outbox.Entry{Topic: "pair", Sequence: at, MessageID: id, Payload: []byte("payload of " + id),
			AppendedAt: time.Unix(1, 0).UTC()})
	}
	return list
}

func (p *pair) now() mark { return p.model.store.marks[markKey{pairChannel, pairOrigin}] }

func (p *pair) batch(t *rapid.T) relay.Batch {
	run := rapid.SampledFrom([]string{"", p.model.runID(), p.model.runID(), "0123"}).Draw(t, "run")
	return relay.Batch{Channel: pairChannel, Origin: pairOrigin, Run: run, Stream: p.stream,
		Predecessor: p.mark(t, "predecessor", p.now().published), Added: p.mark(t, "added", p.now().added),
		Stored: rapid.Uint64Max(p.now().published.Sequence+2).Draw(t, "stored"), Receivers: rapid.IntRange(0, 2).Draw(t, "receivers")}
}

func (p *pair) publish(t *rapid.T) {
	b := p.batch(t)
	b.Events = p.events(t, b.Predecessor.Sequence)
	p.call(t, b)
}

// backlog is so many events that a stream is trimmed, of all sizes. They are sent a few at a time, never more than a stream
// keeps: the IDs of what is trimmed by the very call that adds it would not be known.
func (p *pair) backlog(t *rapid.T) {
	size := rapid.SampledFrom([]int{1, 50, 100, 1000, 3000}).Draw(t, "size")
	atOnce := 10
	if p.stream != nil {
		atOnce = min(atOnce, p.stream.MaxLen)
	}
	for range 10 * rapid.IntRange(3, 15).Draw(t, "tens") / atOnce {
		b := relay.Batch{Channel: pairChannel, Origin: pairOrigin, Stream: p.stream,
			Predecessor: p.now().published, Added: p.now().added}
		for i := range uint64(atOnce) {
			at := b.Predecessor.Sequence + i + 1
			id := fmt.Sprint("m-", at)
			b.Events = append(b.Events, outbox.Entry{Topic: "pair", Sequence: at, MessageID: id, AppendedAt: time.Unix(1, 0).UTC(),
				Payload: []byte("payload of " + id + strings.Repeat(".", size))})
		}
		p.call(t, b)
	}
}

// learnIDs tells the model which IDs the real server has given to entries: how many go into a node depends on the time.
func (p *pair) learnIDs() {
	stored, err := p.admin.XRange(ctx, relay.StreamKey(pairChannel), "-", "+").Result()
	require.NoError(p.t, err)
	p.model.ids = map[uint64]streamID{}
	for _, e := range stored {
		var id streamID
		var n uint64
		_, err := fmt.Sscanf(e.ID, "%d-%d", &id.ms, &id.seq)
		require.NoError(p.t, err)
		_, err = fmt.Sscan(e.Values["sequence"].(string), &n)
		require.NoError(p.t, err)
		p.model.ids[n] = id
	}
}

func (p *pair) guard(t *rapid.T) { p.call(t, p.batch(t)) }

func (p *pair) call(t *rapid.T, b relay.Batch) {
	replies, err := p.target.Publish(ctx, b)
	p.learnIDs()
	want, wantErr := p.model.publish(b)
	p.agree(t, err, wantErr)
	if err == nil {
		same(t, replies[0], want)
	}
}

func (p *pair) republish(t *rapid.T) {
	b := p.batch(t)
	b.Events = p.events(t, 0)
	reply, err := p.target.Republish(ctx, b)
	want, wantErr := p.model.republish(b)
	p.agree(t, err, wantErr)
	if err == nil {
		want.Added = outbox.Mark{}
		same(t, reply, want)
	}
}

func (p *pair) restore(t *rapid.T) {
	b := p.batch(t)
	added := b.Added
	if p.stream != nil && !p.model.store.exists(pairChannel) && rapid.Bool().Draw(t, "as it is reported") {
		added = outbox.Mark{}
	}
	set := relay.Marks{Published: p.event(t, "set").mark(), Added: p.event(t, "set added").mark()}
	r := relay.Repair{Channel: pairChannel, Origin: pairOrigin, Stream: p.stream,
		Reported: relay.Marks{Published: b.Predecessor, Added: added}, Set: set}
	if p.stream != nil && rapid.Bool().Draw(t, "with events") {
		r.Events = p.events(t, added.Sequence)
		for range r.Events {
			r.Predecessors = append(r.Predecessors, rapid.Uint64Max(9).Draw(t, "predecessor of an event"))
		}
		last := eventMark(r.Events[len(r.Events)-1])
		r.Set = relay.Marks{Published: last, Added: last}
	}
	reply, err := p.target.Restore(ctx, r)
	p.learnIDs()
	want, wantErr := p.model.restore(r)
	p.agree(t, err, wantErr)
	if err == nil {
		same(t, reply, want)
	}
}

func (p *pair) newest(t *rapid.T) {
	found, err := p.target.Newest(ctx, pairChannel, "")
	want, wantErr := p.model.newest(pairChannel, "")
	p.agree(t, err, wantErr)
	require.Len(t, found, len(want))
	for i := range want {
		require.Equal(t, want[i].Mark, found[i].Mark)
		require.Equal(t, want[i].Origin, found[i].Origin)
	}
	if len(found) > 1 { // from one on
		rest, err := p.target.Newest(ctx, pairChannel, found[0].ID)
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(rest), len(found)-1)
		require.Equal(t, found[1:], rest[:len(found)-1])
	}
}

// group makes a consumer group of the stream, which begins with the oldest entry or with new ones, or has none any more.
func (p *pair) group(t *rapid.T) {
	st, exists := p.model.store.streams[pairChannel]
	if !exists || p.model.has("readonly") || p.model.has("oom") {
		return
	}
	name := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "group")
	key := relay.StreamKey(pairChannel)
	if _, there := st.groups[name]; there {
		if rapid.IntRange(0, 3).Draw(t, "remove") > 0 {
			return
		}
		p.model.store.removeGroup(pairChannel, name)
		require.NoError(t, p.admin.XGroupDestroy(ctx, key, name).Err())
		return
	}
	from := rapid.SampledFrom([]string{"0", "$"}).Draw(t, "from")
	require.True(t, p.model.store.createGroup(pairChannel, name, from == "$"))
	require.NoError(t, p.admin.XGroupCreate(ctx, key, name, from).Err())
}

// read has a consumer group take entries, and acknowledge some or all.
func (p *pair) read(t *rapid.T) {
	name := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "group")
	if _, there := p.model.store.streams[pairChannel].groups[name]; !there || p.model.has("readonly") || p.model.has("oom") {
		return
	}
	key := relay.StreamKey(pairChannel)
	if rapid.IntRange(0, 3).Draw(t, "acknowledge") == 0 {
		pending, err := p.admin.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: key, Group: name, Start: "-", End: "+", Count: 10_000}).Result()
		require.NoError(t, err)
		for _, m := range pending {
			require.NoError(t, p.admin.XAck(ctx, key, name, m.ID).Err())
		}
		p.model.store.ackGroup(pairChannel, name)
	}
	n, left := rapid.IntRange(1, 100).Draw(t, "entries"), rapid.SampledFrom([]int{0, 0, 1}).Draw(t, "not acknowledged")
	streams, err := p.admin.XReadGroup(ctx, &redis.XReadGroupArgs{Group: name, Consumer: "c", Streams: []string{key, ">"}, Block: -1,
		Count: int64(n)}).Result()
	if errors.Is(err, redis.Nil) {
		return
	}
	require.NoError(t, err)
	for _, m := range streams[0].Messages[min(left, len(streams[0].Messages)):] {
		require.NoError(t, p.admin.XAck(ctx, key, name, m.ID).Err())
	}
	before := p.model.store.streams[pairChannel].groups[name]
	p.model.store.readGroup(pairChannel, name, n, left)
	after := p.model.store.streams[pairChannel].groups[name]
	require.Equal(t, len(before.pending)+min(left, len(streams[0].Messages)), len(after.pending))
}
