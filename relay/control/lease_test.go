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

func TestASeparateRelayDeliversOverTheSocket(t *testing.T) {
	d := deliverer{t, redistest.Start(t, redistest.Options{})}
	sub := redistest.Subscribe(t, d.server.Addr(), redistest.SubscriberOptions{Channels: []string{"test:news"}})
	sub.WaitSubscribed(1)
	g := start(t, openBox(t), nil, patient)
	addNews(t, g.box, "before")
	r := d.attend(g.client, relay.Options{})
	within(t, r.started)
	g.waitDelivered()
	addNews(t, g.box, "after") // the relay is told

	g.waitDelivered()
	sub.WaitFor(2)
	s, err := g.client.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, relay.Delivering, s.Relay.State, "it was asked just now")
	require.Equal(t, 1, s.Relay.Topics["news"].Receivers)
	require.Equal(t, processName(), s.DrainedBy)

	health, err := g.client.Pause(t.Context())
	require.NoError(t, err)
	require.Equal(t, relay.Paused, health.State)
	addNews(t, g.box, "paused")
	health, err = g.client.RetryNow(t.Context())
	require.NoError(t, err)
	require.Equal(t, relay.Paused, health.State)
	stats, err := g.box.Stats(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, stats.Topics[0].Pending)
	health, err = g.client.Resume(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, relay.Paused, health.State)
	g.waitDelivered()

	require.NoError(t, r.end())
	require.Eventually(t, func() bool {
		s, err = g.client.Status(t.Context())
		return err == nil && s.Relay == nil
	}, redistest.Patience, time.Millisecond, "nobody drains any more")
	_, err = g.client.RetryNow(t.Context())
	require.ErrorIs(t, err, ErrNoRelay)
}

func TestUntilEmptyOverTheSocket(t *testing.T) {
	d := deliverer{t, redistest.Start(t, redistest.Options{})}
	g := start(t, openBox(t), nil, patient)
	addNews(t, g.box, "one")
	require.NoError(t, d.attend(g.client, relay.Options{UntilEmpty: true}).wait())
	g.waitDelivered()
}

func TestOneRelayDrainsAtATime(t *testing.T) {
	d := deliverer{t, redistest.Start(t, redistest.Options{})}
	g := start(t, openBox(t), nil, patient)
	first := d.attend(g.client, relay.Options{})
	within(t, first.started)
	_, err := g.client.Pause(t.Context())
	require.NoError(t, err)
	second := d.attend(g.client, relay.Options{})
	require.Contains(t, within(t, second.waiting), "process")
	impatient := d.attend(g.client, relay.Options{})
	within(t, impatient.waiting)
	require.NoError(t, impatient.end(), "waiting ends with its context")

	require.NoError(t, first.end())
	within(t, second.started)
	require.Eventually(t, func() bool {
		s, err := g.client.Status(t.Context())
		return err == nil && s.Relay.State == relay.Paused
	}, redistest.Patience, time.Millisecond, "a pause is the outbox's: the next relay is paused as well")
	require.Empty(t, first.waiting)
}

func TestAProcessThatDeliversItselfLendsNothing(t *testing.T) {
	d := deliverer{t, redistest.Start(t, redistest.Options{})}
	box := openBox(t)
	own := d.build(relay.Options{})(box)
	g := start(t, box, own, patient)
	r := d.attend(g.client, relay.Options{})
	require.Equal(t, "the process that has the file delivers itself", within(t, r.waiting))
	require.NoError(t, g.stop())
	require.ErrorIs(t, r.wait(), ErrNotRunning)
	require.Empty(t, r.started)
}

func TestARelayNoticesThatTheProcessHasGone(t *testing.T) {
	d := deliverer{t, redistest.Start(t, redistest.Options{})}
	g := start(t, openBox(t), nil, patient)
	r := d.attend(g.client, relay.Options{})
	within(t, r.started)
	require.NoError(t, g.stop())
	require.ErrorIs(t, r.wait(), ErrLeaseLost)
}

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

func TestAReportOfANewerRelayKeepsTheLease(t *testing.T) {
	g := start(t, openBox(t), nil, patient)
	_, number, hangUp := g.silent()
	defer func() { _ = hangUp() }()
	status, text := g.ask("POST", "/v1/relay/"+number+"/report", `{"health":{"state":"delivering","mood":"good"},"news":1}`)
	require.Equal(t, http.StatusOK, status, text)
}

func TestAPauseCanBeEndedWithoutARelay(t *testing.T) {
	g := start(t, openBox(t), nil, patient)
	_, number, hangUp := g.silent()
	status, _ := g.ask("POST", "/v1/relay/"+number+"/report", `{"health":{"state":"not_running"},"paused":true}`)
	require.Equal(t, http.StatusOK, status)
	require.NoError(t, hangUp())
	require.Eventually(t, func() bool {
		s, err := g.client.Status(t.Context())
		return err == nil && s.Relay == nil
	}, redistest.Patience, time.Millisecond)
	_, err := g.client.Pause(t.Context())
	require.ErrorIs(t, err, ErrNoRelay)
	health, err := g.client.Resume(t.Context())
	require.NoError(t, err)
	require.Equal(t, relay.NotRunning, health.State)
	_, err = g.client.Resume(t.Context())
	require.ErrorIs(t, err, ErrNoRelay)
	lines, _, hangUp := g.silent()
	defer func() { _ = hangUp() }()
	addNews(t, g.box, "one")
	require.True(t, lines.Scan())
	require.Equal(t, `{"wake":true}`, lines.Text(), "the next relay is not paused")
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

func TestARelayThatDoesNotAnswerIsAsItWas(t *testing.T) {
	lim := patient
	lim.report = 50 * time.Millisecond
	g := start(t, openBox(t), nil, lim)
	lines, number, hangUp := g.silent()
	defer func() { _ = hangUp() }()
	s, err := g.client.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, relay.Waiting, s.Relay.State)
	_, err = g.client.Pause(t.Context())
	require.ErrorContains(t, err, "has not answered")

	var asked leaseLine
	for asked.Ask != askPause {
		require.True(t, lines.Scan())
		require.NoError(t, json.Unmarshal(lines.Bytes(), &asked))
	}
	status, _ := g.ask("POST", "/v1/relay/"+number+"/report", `{"health":{"state":"paused"},"answers":999}`)
	require.Equal(t, http.StatusOK, status)
	s, err = g.client.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, relay.Paused, s.Relay.State)
}

func TestCallsThatAreRefused(t *testing.T) {
	g := start(t, openBox(t), nil, patient)
	_, number, hangUp := g.silent()
	defer func() { _ = hangUp() }()
	for _, tt := range []struct {
		name, path, body, code string
	}{
		{"no number", "x/flush", "{}", "invalid"},
		{"never granted", "0/flush", "{}", "lease_lost"},
		{"another lease to report with", "99/report", "{}", "lease_lost"},
		{"another lease to read with", "99/read", "{}", "lease_lost"},
		{"unknown call", number + "/compact", "{}", "unknown_path"},
		{"no body", number + "/position", "", "invalid"},
		{"no object", number + "/read", "[]", "invalid"},
		{"no report", number + "/report", "1", "invalid"},
		{"unknown field", number + "/settle", `{"topics":"news"}`, "unknown_field"},
		{"park for no reason", number + "/park", `{"topic":"news","sequence":1}`, "invalid"},
		{"park what is not there", number + "/park", `{"topic":"news","sequence":1,"failure":{}}`, "not_found"},
		{"settle a topic that cannot be", number + "/settle", `{"topic":"No News"}`, "invalid"},
		{"an event that cannot be", number + "/add", `{"events":[{"topic":"news"}]}`, "invalid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, text := g.ask("POST", "/v1/relay/"+tt.path, tt.body)
			require.Contains(t, text, `"code":"`+tt.code+`"`)
		})
	}
	_, text := g.ask("POST", "/v1/relay?name="+strings.Repeat("x", 201), "")
	require.Contains(t, text, `"code":"invalid"`)
}
