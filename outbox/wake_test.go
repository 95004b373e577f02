package outbox

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

func TestEverybodyWhoWaitsForAnAppendIsWoken(t *testing.T) {
	o := openTemp(t, Options{})
	first, second := o.Appended(), o.Appended()
	require.NoError(t, o.Update(ctx, func(*bolt.Tx) error { return nil }))
	require.Error(t, o.Update(ctx, func(tx *bolt.Tx) error {
		_, err := o.Append(tx, Event{Topic: "t", MessageID: "gone", Payload: []byte("x")})
		require.NoError(t, err)
		return errors.New("rolled back")
	}))
	for _, appended := range []<-chan struct{}{first, second} {
		select {
		case <-appended:
			require.Fail(t, "nothing was appended")
		default:
		}
	}
	_, err := o.Add(ctx, Event{Topic: "t", MessageID: "1", Payload: []byte("x")})
	require.NoError(t, err)
	<-first
	<-second
	third := o.Appended()
	require.NotEqual(t, first, third, "the next append has a channel of its own")
	_, err = o.Add(ctx, Event{Topic: "t", MessageID: "2", Payload: []byte("x")})
	require.NoError(t, err)
	<-third
}
