package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/PitchConnect/matchrelay/relay"
)

func main() {
	relay.QuietClientLog()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(newApp(os.Stdin, os.Stdout, os.Stderr).run(ctx, os.Args[1:]))
}
