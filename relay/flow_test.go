package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// gauge answers for Redis how full the subscribers' buffers are.
type gauge struct {
	Target
	read func() ([]Buffer, error)
}

func (g gauge) Buffers(context.Context) ([]Buffer, error) { return g.read() }

const mb = 1 << 20

// newTestFlow controls the flow to a Redis with these buffers; the log and what was told come back as text.
func newTestFlow(read func() ([]Buffer, error)) (f *flow, log *bytes.Buffer) {
	log = &bytes.Buffer{}
	opts := Options{Logger: slog.New(slog.NewTextHandler(log, nil))}.withDefaults()
	return newFlow(gauge{read: read}, opts), log
}

func TestTheRelayWaitsForTheSlowestSubscriberOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		// The slow one reads 1 MB a second of the 10 MB that it has; the fast one has read everything.
		f, log := newTestFlow(func() ([]Buffer, error) {
			return []Buffer{{"fast", 0}, {"slow", 10*mb - int64(time.Since(start).Seconds()*mb)}}, nil
		})
		var express int64
		told := ""
		require.NoError(t, f.take(t.Context(), 3*mb, &express, nil))
		require.Zero(t, time.Since(start), "3 MB fit without a look")
		require.NoError(t, f.take(t.Context(), 2*mb, &express, func(reason string) { told = reason }))
		require.InDelta(t, 6, time.Since(start).Seconds(), 0.1, "until 4 MB are left")
		require.Contains(t, told, "waits for the subscriber at slow")
		require.NoError(t, f.take(t.Context(), 2*mb, &express, nil))
		require.InDelta(t, 6, time.Since(start).Seconds(), 0.1, "the next 2 MB fit without another look")
		require.Empty(t, log.String())
	})
}

func TestASubscriberThatReadsNothingIsGivenUpAndTakenUpAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := int64(6 * mb)
		f, log := newTestFlow(func() ([]Buffer, error) { return []Buffer{{"stuck", stuck}}, nil })
		var express int64
		send := func() time.Duration {
			began := time.Now()
			require.NoError(t, f.take(t.Context(), 5*mb, &express, func(string) {}))
			return time.Since(began)
		}
		require.InDelta(t, flowPatience.Seconds(), send().Seconds(), 0.1)
		require.Contains(t, log.String(), "a subscriber reads nothing")
		stuck = 8 * mb
		require.Zero(t, send(), "nobody waits for it any longer")
		stuck = 5 * mb
		require.InDelta(t, flowPatience.Seconds(), send().Seconds(), 0.1, "it has read something: it is waited for again")
		stuck = mb
		require.Zero(t, send())
		require.Equal(t, 2, strings.Count(log.String(), "a subscriber reads nothing"))
	})
}

func TestAPaceIsKeptWhereRedisDoesNotTell(t *testing.T) {
	for _, refusal := range []string{
		"NOPERM this user has no permissions to run the 'client|list' command",
		"ERR unknown command 'CLIENT'", "ERR unknown subcommand 'LIST'",
	} {
		synctest.Test(t, func(t *testing.T) {
			f, log := newTestFlow(func() ([]Buffer, error) { return nil, scriptError(refusal) })
			began := time.Now()
			var express int64
			told := ""
			for range 20 {
				require.NoError(t, f.take(t.Context(), 4*mb, &express, func(reason string) { told = reason }))
			}
			// 80 MB at 8 MiB/s, of which the first 4 MB were not counted and 4 are a burst.
			require.InDelta(t, 9, time.Since(began).Seconds(), 0.1)
			require.Empty(t, told, "half a second is no reason to tell")
			require.NoError(t, f.take(t.Context(), 24*mb, &express, func(reason string) { told = reason }))
			require.Contains(t, told, "fixed pace")
			f.again()
			for range 2 {
				require.NoError(t, f.take(t.Context(), 4*mb, &express, func(string) {}))
			}
			require.Equal(t, 1, strings.Count(log.String(), "level=WARN"), "one warning, after a reconnect as well")
			require.Contains(t, log.String(), "+client|list")
		})
	}
}

func TestAnOutageEndsTheWaitForASubscriber(t *testing.T) {
	for _, outage := range []error{io.EOF, scriptError("LOADING Redis is loading the dataset in memory")} {
		f, _ := newTestFlow(func() ([]Buffer, error) { return nil, outage })
		var express int64
		var failed failure
		require.ErrorAs(t, f.take(t.Context(), 5*mb, &express, nil), &failed)
		require.Equal(t, Outage, failed.class)
		require.False(t, f.blind)
	}
}

func TestATopicWithLittleToSendIsNotKeptWaitingByTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := newTestFlow(func() ([]Buffer, error) { return []Buffer{{"slow", 100 * mb}}, nil })
		ctx, cancel := context.WithCancel(t.Context())
		backlog, alert := int64(0), int64(0)
		waits := make(chan error, 2)
		go func() { waits <- f.take(ctx, 5*mb, &backlog, func(string) {}) }()
		synctest.Wait()
		for range 64 {
			require.NoError(t, f.take(ctx, 4<<10, &alert, nil))
		}
		go func() { waits <- f.take(ctx, 4<<10, &alert, nil) }() // it has sent 256 KB meanwhile: a backlog of its own
		synctest.Wait()
		require.Empty(t, waits)
		f.again() // waits for nobody
		cancel()
		require.NoError(t, errors.Join(<-waits, <-waits), "the end of ctx ends both waits")
	})
}

func TestFlowControlCanBeTurnedOff(t *testing.T) {
	f := newFlow(nil, Options{MaxBuffer: -1}.withDefaults())
	var express int64
	require.NoError(t, f.take(t.Context(), 100*mb, &express, nil))
}
