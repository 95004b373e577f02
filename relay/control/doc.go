// Package control is the control socket: whoever has the outbox file open serves it, and everything else works through it,
// live, for bbolt lets one process open the file.
//
// Any Go processor serves it with one call, from a goroutine that it owns, and waits for it to return before it closes the
// outbox:
//
//	var served sync.WaitGroup
//	served.Go(func() {
//		if err := control.Serve(ctx, control.Options{Outbox: box, Relay: r}); err != nil {
//			log.Print(err) // events are delivered all the same
//		}
//	})
//	…
//	cancel()
//	served.Wait()
//	err := box.Close()
//
// Whoever wants to use it calls Dial; ErrNotRunning means that nobody serves the socket, and the file can be opened instead.
//
// # The socket
//
// A unix socket beside the file (<db>.sock) with mode 0600 from the first moment: whoever may use the file may use the
// socket. It appears and goes while the outbox is open, so a file of that name that nobody listens to was left behind by a
// process that was killed, and is replaced; one that somebody listens to is left alone. At the end the socket file is
// removed, if it still is the one that was made.
//
// # The protocol
//
// HTTP/1.1 with JSON, under the path /v1: fields and endpoints are added, never renamed; what would break a client gets
// another version.
//
//	GET  /v1/status               Status: the counters of the outbox, and the health of the relay
//	GET  /v1/health               Health: whether the process works, degraded or not; always 200
//	POST /v1/retry-now            ends the backoff that any topic is in; answers with the health, as do the next two
//	POST /v1/pause                nothing is published until resume, or until the process ends: it is kept in memory only
//	POST /v1/resume
//	GET  /v1/events               a line of JSON for each event (outbox.Info), in order; ?topic= &state= &after= &through=
//	                              &since= &until= (RFC 3339) &error= &limit= select as outbox.Filter does
//	GET  /v1/events/{sequence}    Event: what is known of one event; with ?payload=1 also its payload, in base64
//	GET  /v1/tail                 as /v1/events, and then the events that are appended, as they come, until either side ends;
//	                              without &through= &until= &limit=
//	POST /v1/events/replay        ReplayRequest; answers with outbox.ReplayResult
//	POST /v1/events/discard       DiscardRequest; answers with outbox.DiscardResult
//	GET  /v1/audit                a list of outbox.AuditEntry, the newest last; ?limit= only so many
//	GET  /v1/backup               a copy of the outbox file, payloads included; an answer that breaks off is none
//
// A request that fails is answered with {"error":{"code":"not_found","message":"…"}}; the codes are those of Error. A list
// that cannot be completed ends with such a line. Only ?payload=1 and backup answer with payloads; nothing answers with credentials.
//
// # Limits
//
// Requests take at most 1 MiB and 10 s to arrive; what is sent back may stall for 30 s. A replay or discard takes at
// most MaxSequences at once; the client makes several requests of more. The audit log names the user of the process that is
// connected, as the system tells (on Linux; elsewhere "unknown").
package control
