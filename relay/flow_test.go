package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
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

func (g gauge) Buffers(context.Context) ([]Buffer, bool, error) {
	list, err := g.read()
	return list, true, err
}

const mb = 1 << 20

// newTestFlow controls the flow to a Redis with these buffers; the log and what was told come back as text.
func newTestFlow(read func() ([]Buffer, error)) (f *flow, log *bytes.Buffer) {
	log = &bytes.Buffer{}
	opts := Options{Logger: slog.New(slog.NewTextHandler(log, nil))}.withDefaults()
	return newFlow(gauge{read: read}, opts), log
}

// take sends, and has the answer at once.
func take(t *testing.T, f *flow, size int64, express *int64, told func(string)) {
	t.Helper()
	done, err := f.take(t.Context(), size, express, told)
	require.NoError(t, err)
	done()
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
		take(t, f, 3*mb, &express, nil)
		require.Zero(t, time.Since(start), "3 MB fit without a look")
		take(t, f, 2*mb, &express, func(reason string) { told = reason })
		require.InDelta(t, 6, time.Since(start).Seconds(), 0.1, "until 4 MB are left")
		require.Contains(t, told, "waits for the subscriber at slow")
		take(t, f, 2*mb, &express, nil)
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
			take(t, f, 5*mb, &express, func(string) {})
			return time.Since(began)
		}
		require.InDelta(t, flowPatience.Seconds(), send().Seconds(), 0.1)
		require.Contains(t, log.String(), "a subscriber reads nothing")
		stuck = 8 * mb
		require.Zero(t, send(), "nobody waits for it any longer")
		stuck = 7 * mb
		require.Zero(t, send(), "it has been emptier than this: somebody else may fill it")
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
				take(t, f, 4*mb, &express, func(reason string) { told = reason })
			}
			// 80 MB at 8 MiB/s, of which the first 4 MB were not counted and 4 are a burst.
			require.InDelta(t, 9, time.Since(began).Seconds(), 0.1)
			require.Empty(t, told, "half a second is no reason to tell")
			take(t, f, 24*mb, &express, func(reason string) { told = reason })
			require.Contains(t, told, "fixed pace")
			f.again()
			for range 2 {
				take(t, f, 4*mb, &express, func(string) {})
			}
			require.Equal(t, 1, strings.Count(log.String(), "level=WARN"), "one warning, after a reconnect as well")
			require.Contains(t, log.String(), "+client|list")
		})
	}
}

func TestTopicsTogetherFillNoBufferOverTwiceTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var buffer atomic.Int64 // what Redis has pushed into it, and nobody reads
		f, _ := newTestFlow(func() ([]Buffer, error) { return []Buffer{{"slow", buffer.Load()}}, nil })
		ctx, cancel := context.WithCancel(t.Context())
		var topics sync.WaitGroup
		for range 5 {
			topics.Go(func() {
				var express int64
				for ctx.Err() == nil {
					done, err := f.take(ctx, 3*mb, &express, func(string) {})
					if err == nil && ctx.Err() == nil {
						sleep(ctx, 10*time.Millisecond) // on its way
						buffer.Add(3 * mb)
					}
					done()
				}
			})
		}
		sleep(ctx, flowPatience/2)
		cancel()
		topics.Wait()
		require.LessOrEqual(t, buffer.Load(), int64(2*f.limit))
		require.Greater(t, buffer.Load(), int64(4*mb))
	})
}

func TestALoginThatIsRefusedIsNoReasonToSendBlindly(t *testing.T) {
	for _, refusal := range []string{"NOAUTH Authentication required.", "WRONGPASS invalid username-password pair or user is disabled."} {
		f, log := newTestFlow(func() ([]Buffer, error) { return nil, scriptError(refusal) })
		var express int64
		_, err := f.take(t.Context(), 5*mb, &express, nil)
		var failed failure
		require.ErrorAs(t, err, &failed)
		require.Equal(t, Denied, failed.class)
		require.False(t, f.blind)
		require.Empty(t, log.String())
	}
}

func TestAnOutageEndsTheWaitForASubscriber(t *testing.T) {
	for _, outage := range []error{io.EOF, scriptError("LOADING Redis is loading the dataset in memory")} {
		f, _ := newTestFlow(func() ([]Buffer, error) { return nil, outage })
		var express int64
		var failed failure
		_, err := f.take(t.Context(), 5*mb, &express, nil)
		require.ErrorAs(t, err, &failed)
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
		wait := func(size int64, express *int64) {
			_, err := f.take(ctx, size, express, func(string) {})
			waits <- err
		}
		go wait(5*mb, &backlog)
		synctest.Wait()
		for range 64 {
			take(t, f, 4<<10, &alert, nil)
		}
		go wait(4<<10, &alert) // it has sent 256 KB meanwhile: a backlog of its own
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
	take(t, f, 100*mb, &express, nil)
}
