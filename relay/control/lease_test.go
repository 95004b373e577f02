package control

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
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
