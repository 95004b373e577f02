package relay_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/relay"
)

// Redis repeats the arguments of a command that it does not know.
func TestWhatRedisRepeatsOfACommandIsToldNobody(t *testing.T) {
	t.Parallel()
	const password = "s3cret-password"
	for _, c := range []struct {
		name   string
		config []string
		says   string
		secret string
	}{
		{"a password", []string{`rename-command AUTH ""`, `rename-command HELLO ""`}, "unknown command 'auth'", password},
		{"the arguments of a script", []string{`rename-command EVALSHA ""`, "requirepass " + password}, "unknown command 'evalsha'", "hwm"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, redistest.Options{Config: c.config})
			r.server.Start()
			log := &logged{}
			opts := quick()
			opts.Logger = log.logger()
			opts.Alert = func(a relay.Alert) (outbox.Event, error) { return message("alerts", a.Message), nil }
			o := relay.ClientOptions{Addrs: []string{r.server.Addr()}, Password: password, DialTimeout: socketTimeout}
			target := examinee(t, o, socketTimeout)
			r.startTarget(opts, target)
			r.add("news", 1)
			eventually(t, "the topic waits", func() bool { return r.relay.Health().Topics["news"].State == relay.Blocked })
			eventually(t, "the alert waits, too", func() bool { return r.topic("alerts").Pending > 0 })
			require.NotContains(t, fmt.Sprintf("%+v", r.relay.Health()), c.secret)
			r.halt()
			require.Positive(t, log.count(c.says))
			require.Zero(t, log.count(c.secret))
			found, err := r.box.List(t.Context(), outbox.Filter{Topic: "alerts"})
			require.NoError(t, err)
			for _, info := range found {
				e, _, err := r.box.Get(t.Context(), info.Sequence)
				require.NoError(t, err)
				require.Contains(t, string(e.Payload), c.says)
				require.NotContains(t, string(e.Payload), c.secret)
			}
		})
	}
}

// Whatever Redis says, and be it the password, or that of somebody else, among control characters.
func TestWhatRedisSaysIsToldInALineWithoutCredentials(t *testing.T) {
	t.Parallel()
	const password, username = "s3cret-password", "s3cret-name"
	words := "MISCONF " + password + " of " + username + ", hunter2 of bob \x1b[2J\x00" + strings.Repeat("x", 40_000)
	fit := func(told string) {
		require.Contains(t, told, "MISCONF (not shown)")
		for _, word := range []string{"s3cret", "hunter2", "bob"} {
			require.NotContains(t, told, word)
		}
		require.NotRegexp(t, `[[:cntrl:]]`, told)
		require.Less(t, len(told), 600, "with what to do about it")
	}
	r := newRig(t, redistest.Options{})
	log := &logged{}
	opts := quick()
	opts.Logger = log.logger()
	o := relay.ClientOptions{Addrs: []string{answering(t, "-"+words+"\r\n")}, Username: username, Password: password, DialTimeout: socketTimeout}
	r.startTarget(opts, examinee(t, o, socketTimeout))
	r.add("news", 1)
	eventually(t, "it is told", func() bool { return strings.Contains(r.relay.Health().Topics["news"].LastError, "MISCONF") })
	fit(r.relay.Health().Topics["news"].LastError)
	eventually(t, "it is an alert", func() bool { return slices.Contains(r.alertKinds(), "redis_full") })
	r.halt()
	fit(r.alerts[0].Message)
	require.Positive(t, log.count("MISCONF"))
	require.Zero(t, log.count("s3cret"))
	require.Zero(t, log.count(strings.Repeat("x", 200)))

	words += "\n!" // within a script
	o.Addrs = []string{answering(t, strings.Replace(script("ERR", "0", ""), "$0\r\n\r\n$1\r\n0", fmt.Sprintf("$%d\r\n%s\r\n$1\r\n0", len(words), words), 1))}
	replies, err := examinee(t, o, socketTimeout).Publish(t.Context(), relay.Batch{Channel: "test:news", Origin: "o",
		Events: []outbox.Entry{{Sequence: 1, MessageID: "m"}}})
	require.NoError(t, err)
	require.Equal(t, relay.Refused, replies[0].Outcome)
	fit(replies[0].Err.Error())
	class, _ := relay.Explain(replies[0].Err)
	require.Equal(t, relay.Full, class)
}

func TestTheErrorsOfAnExaminationRepeatNoPassword(t *testing.T) {
	t.Parallel()
	const password = "s3cret-password"
	server := redistest.Start(t, redistest.Options{Config: []string{`rename-command AUTH ""`, `rename-command HELLO ""`}})
	o := relay.ClientOptions{Addrs: []string{server.Addr()}, Username: "relay", Password: password, DialTimeout: socketTimeout}
	r := examinee(t, o, socketTimeout)
	_, examined := r.Examine(t.Context(), everything)
	_, marked := r.Mark(t.Context(), "test:news", "o")
	_, typed := r.StreamType(t.Context(), "test:news")
	consumed := &logged{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		client := relay.NewClient(o)
		defer client.Close()
		done <- relay.Consume(ctx, client, relay.ConsumeOptions{Channel: "test:news", Logger: consumed.logger(), Store: &memory{},
			Handle: func(context.Context, relay.StreamEvent) error { return nil }})
	}()
	eventually(t, "the reader tells", func() bool { return consumed.count("unknown command 'auth'") > 0 })
	cancel()
	require.NoError(t, <-done)
	require.Zero(t, consumed.count(password))

	clustered := o
	clustered.Addrs = []string{server.Addr(), server.Addr()}
	_, spread := examinee(t, clustered, socketTimeout).Examine(t.Context(), everything)
	sentinels := o
	sentinels.DialTimeout = sentinelTimeout
	sentinels.SentinelMaster, sentinels.SentinelUsername, sentinels.SentinelPassword = "fogis", "relay", password
	_, behind := examinee(t, sentinels, socketTimeout).Examine(t.Context(), everything)
	asked := relay.Sentinels(t.Context(), sentinels, socketTimeout)[0].Err
	for name, err := range map[string]error{"Examine": examined, "Mark": marked, "StreamType": typed, "a Cluster": spread,
		"behind Sentinels": behind, "a Sentinel": asked} {
		require.ErrorContains(t, err, "unknown command 'auth'", name)
		require.False(t, strings.Contains(err.Error(), password), name)
		class, mend := relay.Explain(err)
		require.Equal(t, relay.Denied, class, name)
		require.NotEmpty(t, mend, name)
	}
}
