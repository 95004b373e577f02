package outbox

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

func TestAnySequenceOfOperationsAgreesWithTheModel(t *testing.T) {
	folder := t.TempDir()
	topics := []string{"match_updates", "status", "alerts"}
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		clock := newClock()
		opts := Options{Now: clock.Now, Retention: 10 * time.Hour}
		o, err := Open(filepath.Join(folder, fmt.Sprint(run)), opts)
		require.NoError(t, err)
		o.db.NoSync = true // no power fails here
		defer func() { _ = o.Close() }()
		m := newModel()
		minted := 0
		drawEvents := func() (list []Event) {
			for range rapid.IntRange(1, 4).Draw(t, "events") {
				minted++
				list = append(list, Event{
					Topic: rapid.SampledFrom(topics).Draw(t, "topic"), MessageID: fmt.Sprint("id-", minted), Payload: []byte("payload"),
					Snapshot: rapid.Bool().Draw(t, "snapshot"),
					Key:      rapid.SampledFrom([]string{"", "", "", "k1", "k2", "k3"}).Draw(t, "key"),
				})
			}
			return list
		}
		var pickTopic = func() string { return rapid.SampledFrom(topics).Draw(t, "topic") }
		t.Repeat(map[string]func(*rapid.T){
			"append in an Update, with the processor's state": func(*rapid.T) {
				list := drawEvents()
				var want []uint64
				for _, e := range list {
					want = append(want, m.append(e, 0, clock.Now()))
				}
				key := fmt.Sprintf("state-%06d", minted)
				m.state = append(m.state, key)
				var got []uint64
				require.NoError(t, o.Update(ctx, func(tx *bolt.Tx) (err error) {
					got, err = o.Append(tx, list...)
					return errors.Join(err, putState(tx, key))
				}))
				require.Equal(t, want, got)
			},
			"append and fail": func(*rapid.T) {
				list := drawEvents()
				fail := rapid.SampledFrom([]string{"error", "panic", "append"}).Draw(t, "how")
				got := outcomeOf(func() error {
					return o.Update(ctx, func(tx *bolt.Tx) error {
						require.NoError(t, putState(tx, "must not stay"))
						_, err := o.Append(tx, list...)
						switch fail {
						case "panic":
							panic("refused")
						case "append":
							_, _ = o.Append(tx, Event{})
							return err
						}
						return errors.Join(err, errors.New("refused"))
					})
				})
				require.NotEqual(t, outcome{}, got)
			},
			"append in a transaction of the caller's own": func(*rapid.T) {
				list := drawEvents()
				for _, e := range list {
					m.append(e, 0, clock.Now())
				}
				require.NoError(t, o.db.Update(func(tx *bolt.Tx) error { _, err := o.Append(tx, list...); return err }))
			},
			"settle": func(*rapid.T) {
				topic := pickTopic()
				through := rapid.Uint64Range(0, m.last+1).Draw(t, "through")
				unheard := map[uint64]bool{}
				for _, sequence := range rapid.SliceOfN(rapid.Uint64Range(1, m.last+1), 0, 3).Draw(t, "unheard") {
					unheard[sequence] = true
				}
				m.settle(topic, through, unheard)
				m.tail[topic] = rapid.SampledFrom([]uint64{0, 0, through}).Draw(t, "tail")
				p, err := o.Position(ctx, topic)
				require.NoError(t, err)
				require.NoError(t, o.Settle(ctx, Receipt{Topic: topic, Through: through, Unheard: slices.Collect(maps.Keys(unheard)),
					Origin: p.Origin, Progress: Progress{TailFrom: m.tail[topic]}}))
				require.NoError(t, o.Flush(ctx))
			},
			"park": func(*rapid.T) {
				topic := pickTopic()
				i := m.firstPending(topic)
				if i < 0 {
					require.Error(t, o.Park(ctx, topic, m.last+1, Failure{}))
					return
				}
				m.events[i].state = Parked
				require.NoError(t, o.Park(ctx, topic, m.events[i].sequence, Failure{Class: "poison"}))
			},
			"replay": func(*rapid.T) {
				if len(m.events) == 0 {
					return
				}
				chosen := rapid.SliceOfN(rapid.IntRange(0, len(m.events)-1), 1, 6).Draw(t, "events")
				var sequences []uint64
				for _, i := range chosen {
					sequences = append(sequences, m.events[i].sequence)
				}
				slices.SortFunc(chosen, func(a, b int) int {
					return cmp.Or(cmp.Compare(m.events[a].first(), m.events[b].first()), cmp.Compare(a, b))
				})
				want := []uint64{}
				for _, i := range slices.Compact(chosen) {
					if as, ok := m.replay(i, clock.Now()); ok {
						want = append(want, as)
					}
				}
				got, err := o.Replay(ctx, sequences, ReplayOptions{})
				require.NoError(t, err)
				require.Equal(t, want, got.Sequences)
				m.audits += min(1, len(want))
			},
			"replay, and nobody hears anything": func(*rapid.T) {
				topic := pickTopic()
				var sequences []uint64
				var chosen []int
				most := rapid.IntRange(1, 5).Draw(t, "events")
				for i, e := range m.events {
					if e.topic == topic && (e.state == Unheard || e.state == Parked) && len(chosen) < most {
						sequences, chosen = append(sequences, e.sequence), append(chosen, i)
					}
				}
				slices.SortFunc(chosen, func(a, b int) int { return cmp.Compare(m.events[a].first(), m.events[b].first()) })
				missed := map[uint64]bool{}
				for _, e := range m.events {
					if e.topic == topic && e.state == Pending {
						missed[e.sequence] = true
					}
				}
				waiting := len(missed)
				for _, i := range chosen {
					if as, ok := m.replay(i, clock.Now()); ok {
						missed[as] = true
					}
				}
				got, err := o.Replay(ctx, sequences, ReplayOptions{})
				require.NoError(t, err)
				require.Len(t, got.Sequences, len(missed)-waiting)
				m.audits += min(1, len(missed)-waiting)
				m.settle(topic, m.last, missed)
				m.tail[topic] = 0
				p, err := o.Position(ctx, topic)
				require.NoError(t, err)
				require.NoError(t, o.Settle(ctx, Receipt{Topic: topic, Through: m.last, Unheard: slices.Sorted(maps.Keys(missed)), Origin: p.Origin}))
				require.NoError(t, o.Flush(ctx))
			},
			"discard": func(*rapid.T) {
				if len(m.events) == 0 {
					return
				}
				i := rapid.IntRange(0, len(m.events)-1).Draw(t, "event")
				want := DiscardResult{Matched: 1, Ineligible: 1}
				if m.events[i].state == Pending {
					want.Pending = 1
				}
				if m.discard(i) {
					m.audits++
					want.Ineligible, want.Eligible, want.Discarded = 0, 1, 1
				}
				got, err := o.Discard(ctx, []uint64{m.events[i].sequence}, DiscardOptions{Reason: "model"})
				require.NoError(t, err)
				require.Equal(t, want, got)
			},
			"prune": func(*rapid.T) {
				clock.advance(time.Duration(rapid.IntRange(0, 20).Draw(t, "hours")) * time.Hour)
				want := m.prune(clock.Now().Add(-opts.Retention))
				got, err := o.Prune(ctx)
				require.NoError(t, err)
				require.Equal(t, want, got)
			},
			"take a new origin": func(*rapid.T) {
				p, err := o.Position(ctx, "")
				require.NoError(t, err)
				_, err = o.NewOrigin(ctx, p.Origin)
				require.NoError(t, err)
				m.epoch++
				m.audits++
			},
			"reopen": func(*rapid.T) {
				path := o.Path()
				require.NoError(t, o.Close())
				o, err = Open(path, opts)
				require.NoError(t, err)
				o.db.NoSync = true
			},
			"": func(*rapid.T) { requireModel(t, o, m, topics) },
		})
		report, err := o.Verify(ctx)
		require.NoError(t, err)
		require.Empty(t, report.Problems)
	})
}

func requireModel(t *rapid.T, o *Outbox, m *model, topics []string) {
	list, err := o.List(ctx, Filter{})
	require.NoError(t, err)
	var want, got []string
	for _, e := range m.events {
		want = append(want, fmt.Sprintf("%d %s %s %s %d", e.sequence, e.topic, e.id, e.state, e.replayOf))
	}
	for _, e := range list {
		got = append(got, fmt.Sprintf("%d %s %s %s %d", e.Sequence, e.Topic, e.MessageID, e.State, e.ReplayOf))
	}
	require.Equal(t, want, got)

	stats, err := o.Stats(ctx)
	require.NoError(t, err)
	require.Equal(t, []uint64{m.last, m.epoch, uint64(len(m.events))}, []uint64{stats.LastSequence, stats.Epoch, stats.Events})
	in := func(topic string, states ...State) (n uint64) {
		for _, e := range m.events {
			if e.topic == topic && slices.Contains(states, e.state) {
				n++
			}
		}
		return n
	}
	for _, s := range stats.Topics {
		require.Equal(t,
			[]uint64{m.appended[s.Topic], in(s.Topic, Pending), m.counts(s.Topic)[0], in(s.Topic, Unheard), in(s.Topic, Parked), m.counts(s.Topic)[1], m.counts(s.Topic)[2]},
			[]uint64{s.Appended, s.Pending, s.Delivered, s.Unheard, s.Parked, s.Replayed, s.Discarded}, s.Topic)
	}
	for _, topic := range topics {
		var pending []string
		for _, e := range m.events {
			if e.topic == topic && e.state == Pending {
				pending = append(pending, e.id)
			}
		}
		p, err := o.Position(ctx, topic)
		require.NoError(t, err)
		entries, err := o.Read(ctx, Range{Topic: topic, After: p.Cursor, Events: 1000, Bytes: 1 << 20})
		require.NoError(t, err)
		var read []string
		for _, e := range entries {
			read = append(read, e.MessageID)
		}
		require.Equal(t, pending, read, "what the relay reads is what is pending, in order")
	}
	var keys []string
	require.NoError(t, o.View(func(tx *bolt.Tx) error {
		if b := tx.Bucket([]byte("state")); b != nil {
			return b.ForEach(func(k, _ []byte) error { keys = append(keys, string(k)); return nil })
		}
		return nil
	}))
	require.Equal(t, m.state, keys)
	audits := 0
	require.NoError(t, o.View(func(tx *bolt.Tx) error {
		for range openLedger(tx).from(auditBucket, 0) {
			audits++
		}
		return nil
	}))
	require.Equal(t, m.audits, audits)
}
