package relay

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEventsThatTimeOutGetLonger(t *testing.T) { synctest.Test(t, testEventsThatTimeOutGetLonger) }

func testEventsThatTimeOutGetLonger(t *testing.T) {
	r := NewRedis(nil, time.Second)
	call := func(channel string, size int, err error) (limit time.Duration) {
		ctx, end := r.carry(context.Background(), channel, size, 0)
		deadline, _ := ctx.Deadline()
		limit = time.Until(deadline)
		end(err)
		return limit
	}
	const size = 3 << 20
	late := context.DeadlineExceeded
	require.Equal(t, 4*time.Second, call("news", size, late))
	require.Equal(t, 8*time.Second, call("news", size, late))
	require.Equal(t, 16*time.Second, call("news", size, late))
	require.Equal(t, 16*time.Second, call("news", size, io.EOF), "four times the first one is the most")
	require.Equal(t, 4*time.Second, call("alerts", size, nil), "another channel's events")
	require.Equal(t, time.Second, call("news", 0, late), "what carries no events shows an outage as soon as ever")
	require.Equal(t, time.Second, call("news", 0, nil))
	r.timeouts.learn("news", nil, true)
	require.Equal(t, 16*time.Second, call("news", size, nil), "neither a guard nor a success that was late says that it is over")
	require.Equal(t, 4*time.Second, call("news", size, nil), "a success does")
}

func TestAbortEndsACallHoweverLongItHas(t *testing.T) {
	r := NewRedis(nil, time.Hour)
	r.timeouts.learn("news", context.DeadlineExceeded, true)
	ctx, end := r.carry(context.Background(), "news", 1, 0)
	require.NoError(t, ctx.Err())
	r.Abort()
	<-ctx.Done()
	end(ctx.Err())
	require.ErrorIs(t, ctx.Err(), context.Canceled)
	require.Equal(t, 1, r.timeouts.of("news"))
}
