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
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup lets it be
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	context.AfterFunc(ctx, func() {
		signal.Ignore(syscall.SIGHUP) // a terminal that goes away sends several
		stop()                        // a second one of the others ends the process at once
	})
	os.Exit(newApp(os.Stdin, os.Stdout, os.Stderr).run(ctx, os.Args[1:]))
}
