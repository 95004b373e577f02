package control

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// lend is the outbox of a rig as a relay over the socket has it.
func (g *rig) lend() *lease {
	_, number, hangUp := g.silent()
	g.t.Cleanup(func() { _ = hangUp() })
	n, err := strconv.ParseUint(number, 10, 64)
	require.NoError(g.t, err)
	return &lease{client: g.client, connection: g.t.Context(), number: n, appended: make(chan struct{})}
}

func TestTheOutboxOverTheSocketIsTheOutbox(t *testing.T) {
	ctx := t.Context()
	at := time.Date(2025, 9, 21, 10, 30, 0, 123456789, time.UTC)
	open := func() *outbox.Outbox {
		box, err := outbox.Open(filepath.Join(folder(t), "test.db"), outbox.Options{Now: func() time.Time { return at }})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, box.Close()) })
		return box
	}
	here, there := open(), open()
	g := start(t, there, nil, patient)
	remote := g.lend()
	origin := func(s relay.Source) string {
		p, err := s.Position(ctx, "news")
		require.NoError(t, err)
		return p.Origin
	}
	neutral := strings.NewReplacer(origin(here), "the origin", origin(remote), "the origin")
	event := func(id, payload string) outbox.Event {
		return outbox.Event{Topic: "news", MessageID: id, Payload: []byte(payload), Snapshot: id == "b", TraceParent: "00-trace-" + id}
	}
	type result struct {
		value any
		err   error
	}
	of := func(value any, err error) result { return result{value, err} }
	for _, step := range []struct {
		name string
		do   func(s relay.Source) result
	}{
		{"add", func(s relay.Source) result {
			return of(s.Add(ctx, event("a", "one"), event("b", strings.Repeat("two ", 5000)), event("c", "\x00\xff\n"), event("d", "four")))
		}},
		{"add what cannot be", func(s relay.Source) result { return of(s.Add(ctx, event("e", ""))) }},
		{"read all", func(s relay.Source) result {
			return of(s.Read(ctx, outbox.Range{Topic: "news", Events: 10, Bytes: 1 << 20}))
		}},
		{"read some", func(s relay.Source) result {
			return of(s.Read(ctx, outbox.Range{Topic: "news", After: 1, Through: 3, Events: 10, Bytes: 1 << 20}))
		}},
		{"read few bytes", func(s relay.Source) result { return of(s.Read(ctx, outbox.Range{Topic: "news", Events: 10, Bytes: 1})) }},
		{"read nothing", func(s relay.Source) result {
			return of(s.Read(ctx, outbox.Range{Topic: "other", Events: 10, Bytes: 1}))
		}},
		{"count back", func(s relay.Source) result { return of(s.Back(ctx, "news", 4, 2)) }},
		{"look up", func(s relay.Source) result { return of(s.MessageID(ctx, "news", 2)) }},
		{"look up what is not there", func(s relay.Source) result { return of(s.MessageID(ctx, "news", 9)) }},
		{"settle", func(s relay.Source) result {
			return of(nil, s.Settle(ctx, outbox.Receipt{Topic: "news", Through: 2, Unheard: []uint64{2}, Origin: origin(s),
				Progress: outbox.Progress{Accepted: outbox.Mark{Sequence: 2, MessageID: "b"}, Run: "run", TailFrom: 1, Receivers: 3}}))
		}},
		{"settle what cannot be", func(s relay.Source) result { return of(nil, s.Settle(ctx, outbox.Receipt{Topic: "No"})) }},
		{"flush", func(s relay.Source) result { return of(nil, s.Flush(ctx)) }},
		{"position", func(s relay.Source) result { return of(s.Position(ctx, "news")) }},
		{"park what is not first", func(s relay.Source) result { return of(nil, s.Park(ctx, "news", 4, outbox.Failure{})) }},
		{"park", func(s relay.Source) result {
			return of(nil, s.Park(ctx, "news", 3, outbox.Failure{Attempts: 3, First: at, Last: at, Class: "poison", Text: "ERR odd"}))
		}},
		{"read what is left", func(s relay.Source) result {
			return of(s.Read(ctx, outbox.Range{Topic: "news", After: 2, Events: 10, Bytes: 1 << 20}))
		}},
		{"prune", func(s relay.Source) result { return of(s.Prune(ctx)) }},
	} {
		want, got := step.do(here), step.do(remote)
		require.Equal(t, neutral.Replace(toJSON(t, want.value)), neutral.Replace(toJSON(t, got.value)), step.name)
		if want.err == nil {
			require.NoError(t, got.err, step.name)
			continue
		}
		require.ErrorContains(t, got.err, want.err.Error(), step.name)
		for _, known := range []error{outbox.ErrInvalid, outbox.ErrNotFound, outbox.ErrTooLarge} {
			require.Equal(t, errors.Is(want.err, known), errors.Is(got.err, known), step.name)
		}
	}
	entries, err := remote.Read(ctx, outbox.Range{Topic: "news", Events: 10, Bytes: 1 << 20})
	require.NoError(t, err)
	same, err := there.Read(ctx, outbox.Range{Topic: "news", Events: 10, Bytes: 1 << 20})
	require.NoError(t, err)
	require.Equal(t, same, entries, "in every field")

	before := origin(remote)
	after, err := remote.NewOrigin(ctx, before, event("f", "six"))
	require.NoError(t, err)
	require.NotEqual(t, before, after)
	require.Equal(t, after, origin(there))
	list := mustList(t, g.client, outbox.Filter{})
	require.Len(t, list, 5)
}

func TestADamagedEventOverTheSocketIsDamaged(t *testing.T) {
	box := openBox(t)
	addNews(t, box, "fine")
	addNews(t, box, "damaged")
	require.NoError(t, box.Update(t.Context(), func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte("matchrelay/log/news"))
		k, v := b.Cursor().Last()
		spoilt := append([]byte(nil), v...)
		spoilt[len(spoilt)-1] ^= 1
		return b.Put(append([]byte(nil), k...), spoilt)
	}))
	g := start(t, box, nil, patient)
	entries, err := g.lend().Read(t.Context(), outbox.Range{Topic: "news", Events: 10, Bytes: 1 << 20})
	require.NoError(t, err)
	require.Len(t, entries, 2)
	require.NoError(t, entries[0].Err)
	require.ErrorIs(t, entries[1].Err, outbox.ErrDamaged)
}

func TestAnAnswerThatIsCutOffIsALostLease(t *testing.T) {
	for _, body := range []string{"", "[", "[]", "no list\n", "[{\"bytes\":5}]\nabc"} {
		_, err := readEntries(strings.NewReader(body), "news")
		require.Error(t, err, body)
		require.ErrorIs(t, (&lease{connection: t.Context()}).orLost("read", err), ErrLeaseLost)
	}
}
