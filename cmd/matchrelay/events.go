package main

import (
	"github.com/spf13/cobra"
)

func (a *app) eventsCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "events", Short: "Look at events, send them again, or give them up"})
	cmd.AddCommand(a.eventsListCommand(), a.eventsShowCommand(), a.eventsTailCommand(), a.eventsReplayCommand(), a.eventsDiscardCommand())
	return cmd
}
