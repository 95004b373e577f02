package control

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/outbox"
)

func TestAProcessorAddsEndpointsOfItsOwn(t *testing.T) {
	box := openBox(t)
	echo := func(w http.ResponseWriter, r *http.Request) error {
		body, err := io.ReadAll(r.Body)
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &large):
			return &Error{Code: "too_long", Message: "too long", Status: http.StatusRequestEntityTooLarge}
		case r.Header.Get("X-Fail") != "":
			return errors.New("it failed")
		}
		respond(w, http.StatusOK, string(body))
		return nil
	}
	stop := serving(t, Options{Outbox: box, Routes: []Route{
		{Method: "POST", Path: "/v1/echo/{what}", MaxBody: 3 << 20, Handle: echo},
		{Method: "POST", Path: "/v1/events", Handle: echo}, // beside GET, which lists them
	}}, patient)
	defer func() { require.NoError(t, stop()) }()
	client, err := Dial(box.Path() + ".sock")
	require.NoError(t, err)
	defer client.Close()
	ctx := context.Background()

	long := strings.Repeat("x", 2<<20)
	var answer string
	require.NoError(t, client.Call(ctx, Request{Method: "POST", Path: "/v1/echo/a", Body: strings.NewReader(long)}, &answer))
	require.Equal(t, long, answer, "a route may take more than 1 MiB")
	require.NoError(t, client.Call(ctx, Request{Method: "POST", Path: "/v1/events", Body: strings.NewReader("{}")}, &answer))
	require.Equal(t, "{}", answer)
	_, err = client.List(ctx, outbox.Filter{})
	require.NoError(t, err)

	var e *Error
	require.ErrorAs(t, client.Call(ctx, Request{Method: "POST", Path: "/v1/echo/a", Body: strings.NewReader(long + long)}, nil), &e)
	require.Equal(t, "too_long", e.Code)
	require.ErrorAs(t, client.Call(ctx, Request{Method: "POST", Path: "/v1/echo/a", Header: http.Header{"X-Fail": {"1"}}}, nil), &e)
	require.Equal(t, Error{Code: "internal", Message: "it failed"}, *e)
	require.ErrorIs(t, client.Call(ctx, Request{Method: "GET", Path: "/v1/echo/a"}, nil), ErrUnsupported)
	require.ErrorIs(t, client.Call(ctx, Request{Method: "DELETE", Path: "/v1/events"}, nil), ErrUnsupported)
}
