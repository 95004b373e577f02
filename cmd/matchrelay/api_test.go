package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/outbox"
)

func TestNothingIsDoneWithoutTheAPIThatWasConfigured(t *testing.T) {
	a := newApp(nil, io.Discard, io.Discard)
	a.environ, a.envFile, a.db = []string{}, os.DevNull, filepath.Join(t.TempDir(), "test.db")
	cfg, err := a.load(nil)
	require.NoError(t, err)
	o, err := openOutbox(cfg, nil, false)
	require.NoError(t, err)
	defer o.Close()
	work := func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	}
	cfg.HTTP.Token = "0123456789abcdef-hidden"
	cfg.HTTP.Addr = "0.0.0.0:0" // as a name may resolve that passed for a loopback one
	err = withAPI(t.Context(), o, cfg, a.logger(cfg), work)
	require.ErrorIs(t, err, outbox.ErrInvalid)
	require.ErrorContains(t, err, "MATCHRELAY_HTTP_ADDR: serve API: ")
	require.ErrorContains(t, err, "is no loopback address")
	require.NotContains(t, err.Error(), "hidden")

	cfg.HTTP.Addr = "127.0.0.1:0"
	failed := errors.New("the work failed")
	require.ErrorIs(t, withAPI(t.Context(), o, cfg, a.logger(cfg), func(context.Context) error { return failed }), failed)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, withAPI(ctx, o, cfg, a.logger(cfg), work))
}

func TestAPortThatCannotBeHadSaysWhatToDo(t *testing.T) {
	for _, tt := range []struct {
		err  error
		says string
	}{
		{syscall.EADDRINUSE, "; another program listens there: stop it, or set another port, or off"},
		{syscall.EACCES, "; set a port from 1024 on, or off"},
		{syscall.EADDRNOTAVAIL, "; set another address, or off"},
	} {
		err := explainListen(&net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", tt.err)})
		require.ErrorContains(t, err, "MATCHRELAY_HTTP_ADDR: listen tcp: bind: ")
		require.ErrorContains(t, err, tt.says)
	}
}
