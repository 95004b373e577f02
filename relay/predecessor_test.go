package relay_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// chain is sequence and predecessor of each entry of news.
func (r *rig) chain() (chain []string) {
	r.t.Helper()
	for _, e := range r.entries() {
		chain = append(chain, fmt.Sprintf("%s after %s", e.Values["sequence"], e.Values["predecessor"]))
	}
	return chain
}

func TestPredecessor_IsTheEventBeforeOfTheSameTopic(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	r.add("news", 1)
	r.add("alerts", 2)
	r.add("news", 2)
	r.start(streaming()) // one call for all three
	r.waitDelivered("news")
	r.add("alerts", 1)
	r.add("news", 1)
	r.waitDelivered("news")
	require.Equal(t, []string{"1 after 0", "4 after 1", "5 after 4", "7 after 5"}, r.chain())
}

func TestPredecessor_IsNoEventThatWasParkedOrDiscarded(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	r.do("CONFIG", "SET", "proto-max-bulk-len", "1mb")
	r.start(streaming())
	r.add("news", 1)
	r.addEvent(message("news", strings.Repeat("x", 2<<20)))
	r.add("news", 1)
	r.waitDelivered("news")
	require.EqualValues(t, 1, r.topic("news").Parked) // which is an alert
	r.relay.Pause()
	discarded := r.add("news", 1)
	r.add("news", 1)
	_, err := r.box.Discard(context.Background(), discarded, outbox.DiscardOptions{Reason: "test"})
	require.NoError(t, err)
	r.relay.Resume()
	r.waitDelivered("news")
	want := []string{"1 after 0", "3 after 1", "6 after 3"}
	require.Equal(t, want, r.chain())
	r.do("FLUSHALL")
	eventually(t, "they are added again", func() bool { return len(r.entries()) == 3 })
	require.Equal(t, want, r.chain())
}

func TestPredecessor_IsInTheStreamWhereItsPublishWasDeniedAndItWasDiscarded(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	r.start(streaming())
	r.add("news", 1)
	r.waitDelivered("news")
	r.do("ACL", "SETUSER", "default", "-publish")
	added := r.add("news", 1) // and an alert
	eventually(t, "it is in the stream, and refused", func() bool {
		return len(r.entries()) == 2 && r.relay.Health().Topics["news"].State == relay.Blocked
	})
	_, err := r.box.Discard(context.Background(), added, outbox.DiscardOptions{Reason: "test"})
	require.NoError(t, err)
	r.do("ACL", "SETUSER", "default", "+publish")
	r.add("news", 1)
	r.waitDelivered("news")
	require.Equal(t, []string{"1 after 0", "2 after 1", "4 after 2"}, r.chain())
}

func TestPredecessor_TellsWhatWasPublishedWhileStreamsWereOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	for _, opts := range []relay.Options{streaming(), quick(), streaming()} {
		r.start(opts)
		r.add("news", 2)
		r.waitDelivered("news")
		r.halt()
	}
	require.Equal(t, []string{"1 after 0", "2 after 1", "5 after 4", "6 after 5"}, r.chain())
}

func TestPredecessor_OfTheFirstThatIsAddedAgainIsTheDeliveredOneBefore(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	opts := streaming()
	opts.StreamMaxLen = 3
	r.start(opts)
	r.add("news", 2)
	r.waitDelivered("news")
	r.relay.Pause()
	discarded := r.add("news", 1)
	r.add("news", 2)
	_, err := r.box.Discard(context.Background(), discarded, outbox.DiscardOptions{Reason: "test"})
	require.NoError(t, err)
	r.relay.Resume()
	r.waitDelivered("news")
	r.add("news", 1)
	r.waitDelivered("news")
	r.do("FLUSHALL")
	eventually(t, "it is added again", func() bool { return len(r.entries()) == 3 })
	require.Equal(t, []string{"4 after 2", "5 after 4", "6 after 5"}, r.chain())
}

func TestPredecessor_MayHaveBeenPruned(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	require.NoError(t, r.box.Close())
	var err error
	now := time.Now
	later := func() time.Time { return now().Add(48 * time.Hour) }
	r.box, err = outbox.Open(r.path, outbox.Options{Retention: 24 * time.Hour})
	require.NoError(t, err)
	r.server.Start()
	r.start(streaming())
	r.add("news", 1)
	snapshot := message("news", "a snapshot")
	snapshot.Snapshot = true
	r.addEvent(snapshot)
	r.add("news", 2)
	r.waitOutlived()
	r.halt()
	discarded := r.add("news", 1)
	_, err = r.box.Discard(context.Background(), discarded, outbox.DiscardOptions{Reason: "test"})
	require.NoError(t, err)
	require.NoError(t, r.box.Close())
	r.box, err = outbox.Open(r.path, outbox.Options{Retention: 24 * time.Hour, Now: later})
	require.NoError(t, err)
	r.start(streaming())
	r.add("news", 2)
	r.waitOutlived()
	_, err = r.box.Prune(context.Background())
	require.NoError(t, err)
	r.do("FLUSHALL")
	eventually(t, "what is left is added again", func() bool { return len(r.entries()) == 3 })
	require.Equal(t, []string{"2 after 0", "6 after 4", "7 after 6"}, r.chain(),
		"of the snapshot it is not known any more; 5 was discarded, and the newest that was delivered and pruned is 4")
}

func TestPredecessor_MayBeAnEventThatRedisDoesNotTakeAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	r.start(streaming())
	r.add("news", 1)
	r.addEvent(message("news", strings.Repeat("x", 2<<20)))
	r.add("news", 1)
	r.waitDelivered("news")
	r.do("CONFIG", "SET", "proto-max-bulk-len", "1mb")
	r.do("FLUSHALL")
	r.add("news", 1)
	r.waitDelivered("news")
	require.Equal(t, []string{"1 after 0", "3 after 2", "4 after 3"}, r.chain())
}

func TestPredecessor_IsOfTheOriginThatAFileTakesAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	r.start(streaming())
	r.add("news", 2)
	r.waitDelivered("news")
	r.halt()
	require.NoError(t, r.box.Close())
	copyFile(t, r.path, r.path+".copy")
	r.open()
	r.start(streaming())
	r.add("news", 2)
	r.waitDelivered("news")
	r.halt()
	require.NoError(t, r.box.Close())
	copyFile(t, r.path+".copy", r.path)
	r.open()
	before := r.origin()
	r.start(streaming())
	eventually(t, "the file has a fresh origin, and #3 is the alert", func() bool { return r.origin() != before })
	r.addMany("news", 3)
	r.waitDelivered("news")
	var fresh []string
	for _, e := range r.entries() {
		if e.Values["origin"] == r.origin() {
			fresh = append(fresh, fmt.Sprintf("%s after %s", e.Values["sequence"], e.Values["predecessor"]))
		}
	}
	require.Equal(t, []string{"4 after 0", "5 after 4", "6 after 5"}, fresh)
}

func TestPredecessor_SurvivesAnAnswerThatIsCutOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, redistest.Options{})
	r.server.Start()
	front := r.front()
	var calls atomic.Int64
	front.publish = func(next func() ([]relay.Reply, error), _ []relay.Batch) ([]relay.Reply, error) {
		replies, err := next()
		if calls.Add(1)%2 == 0 {
			return nil, errors.New("cut off")
		}
		return replies, err
	}
	r.startTarget(streaming(), front)
	for range 5 {
		r.addMany("news", 3)
		r.waitDelivered("news")
	}
	r.requireStream(r.news())
}
