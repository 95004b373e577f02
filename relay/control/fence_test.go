package control

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

func TestARelayThatIsNotHeardOfLosesTheLeaseAndIsFencedOff(t *testing.T) {
	virtually(t, Options{Lease: 5 * time.Second}, standard, func(t *testing.T, v virtual) {
		sequence := addNews(t, v.box, "one")
		lines, number, hangUp := v.silent()
		defer func() { _ = hangUp() }()
		position, err := v.box.Position(t.Context(), "news")
		require.NoError(t, err)
		settle, err := json.Marshal(outbox.Receipt{Topic: "news", Through: sequence, Origin: position.Origin})
		require.NoError(t, err)

		time.Sleep(3 * time.Second)
		heardOf := time.Now()
		status, text := v.ask("POST", "/v1/relay/"+number+"/position", `{"topic":"news"}`)
		require.Equal(t, http.StatusOK, status, text)
		for lines.Scan() { // until the server hangs up
		}
		require.Equal(t, 5*time.Second, time.Since(heardOf))
		status, text = v.ask("POST", "/v1/relay/"+number+"/settle", string(settle))
		require.Equal(t, http.StatusConflict, status)
		require.Contains(t, text, "lease_lost")
		require.NoError(t, v.box.Flush(t.Context()))
		stats, err := v.box.Stats(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, stats.Topics[0].Pending, "it has settled nothing")

		_, next, hangUpNext := v.silent()
		defer func() { _ = hangUpNext() }()
		status, _ = v.ask("POST", "/v1/relay/"+number+"/settle", string(settle))
		require.Equal(t, http.StatusConflict, status, "nor does it with the lease of another one")
		status, text = v.ask("POST", "/v1/relay/"+next+"/settle", string(settle))
		require.Equal(t, http.StatusOK, status, text)
	})
}

func TestALeaseOfAnEarlierProcessIsFencedOff(t *testing.T) {
	box := openBox(t)
	addNews(t, box, "one")
	var numbers []string
	for range 2 { // two processes, one after the other
		g := &rig{t: t, box: box}
		g.stop = serving(t, Options{Outbox: box}, patient)
		var err error
		g.client, err = Dial(box.Path() + ".sock")
		require.NoError(t, err)
		_, number, hangUp := g.silent()
		if numbers = append(numbers, number); len(numbers) == 2 {
			status, text := g.ask("POST", "/v1/relay/"+numbers[0]+"/park", `{"topic":"news","sequence":1,"failure":{"class":"poison"}}`)
			require.Equal(t, http.StatusConflict, status)
			require.Contains(t, text, "lease_lost")
		}
		require.NoError(t, hangUp())
		require.NoError(t, g.client.Close())
		require.NoError(t, g.stop())
	}
}

func TestACallThatTheEndOfTheProcessCutsShortIsNoAnswer(t *testing.T) {
	g := start(t, openBox(t), nil, patient)
	_, number, hangUp := g.silent()
	defer func() { _ = hangUp() }()
	holding, free := make(chan bool), make(chan bool)
	go func() {
		_ = g.box.Update(context.Background(), func(*bolt.Tx) error { // a commit that takes its time
			close(holding)
			<-free
			return nil
		})
	}()
	<-holding
	answered := make(chan error, 1)
	go func() {
		var sequences []uint64
		answered <- g.client.Call(context.Background(), Request{Method: "POST", Path: "/v1/relay/" + number + "/add",
			Body: strings.NewReader(`{"events":[{"topic":"news","message_id":"m","payload":"e30="}]}`)}, &sequences)
	}()
	require.Eventually(t, func() bool { // the call is queued behind it
		_, text := g.ask("POST", "/v1/relay/"+number+"/position", `{"topic":"news"}`)
		return text != ""
	}, redistest.Patience, time.Millisecond)
	stopped := make(chan error, 1)
	go func() { stopped <- g.stop() }()
	err := within(t, answered)
	var e *Error
	require.False(t, errors.As(err, &e), "%v", err)
	close(free)
	require.NoError(t, within(t, stopped))
}

func TestARelayThatIsHeardOfKeepsTheLease(t *testing.T) {
	virtually(t, Options{Lease: 5 * time.Second}, standard, func(t *testing.T, v virtual) {
		attend := func() *remote { // without topics there is nothing to do
			return attend(t, v.client, func(source relay.Source) *relay.Relay { return relay.New(source, nil, relay.Options{}) })
		}
		first := attend()
		<-first.started
		second := attend()
		<-second.waiting
		time.Sleep(time.Minute) // many times the lease
		require.Empty(t, second.started)
		require.NoError(t, first.end())
		<-second.started
		require.NoError(t, second.end())
	})
}

func TestTheLeaseChangesHandsOnlyWhenNoCallIsUnderWay(t *testing.T) {
	var d drains
	h, _, _ := d.acquire("first")
	_, by, freed := d.acquire("second")
	require.Equal(t, "first", by)
	calling, proceed, released := make(chan bool), make(chan bool), make(chan bool)
	go func() {
		_ = d.during(h.number, func(*holder) error {
			close(calling)
			<-proceed
			return nil
		})
	}()
	<-calling
	go func() {
		d.release()
		close(released)
	}()
	require.Eventually(t, func() bool { // the release waits for the call
		if d.mu.TryRLock() {
			d.mu.RUnlock()
			return false
		}
		return true
	}, redistest.Patience, time.Millisecond)
	select {
	case <-freed:
		require.Fail(t, "free while a call is under way")
	default:
	}
	close(proceed)
	<-released
	<-freed
	next, _, _ := d.acquire("second")
	require.Greater(t, next.number, h.number)
	require.ErrorIs(t, d.during(h.number, func(*holder) error { return errors.New("it ran") }), ErrLeaseLost)
}

func TestWhoWaitsForTheLeaseKeepsItsHolderFromNothing(t *testing.T) {
	var d drains
	h, _, _ := d.acquire("first")
	calling, proceed, ended := make(chan bool), make(chan bool), make(chan error)
	go func() {
		ended <- d.during(h.number, func(*holder) error { // a long call
			close(calling)
			<-proceed
			return nil
		})
	}()
	<-calling
	_, by, _ := d.acquire("second")
	require.Equal(t, "first", by)
	held, _ := d.steer(askPause)
	require.Equal(t, h, held)
	require.NoError(t, d.during(h.number, func(*holder) error { return nil }), "it reports meanwhile")
	close(proceed)
	require.NoError(t, <-ended)
}
