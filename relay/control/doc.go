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
// With Relay: nil, delivery is left to a separate relay (see Drain), which works through the socket. Such a relay opens the file
// itself while no processor has it: so a processor opens it with Open, which has the relay hand it over, instead of outbox.Open;
// or with OpenDB, if the outbox is in a database of its own (outbox.New).
//
// Whoever wants to use the socket calls Dial; ErrNotRunning means that nobody serves it, and the file can be opened instead.
//
// # The socket
//
// A unix socket beside the file (<db>.sock) with mode 0600 from the first moment: whoever may use the file may use the
// socket. It appears and goes while the outbox is open, so a file of that name that nobody listens to was left behind by a
// process that was killed, and is replaced; one that somebody listens to is left alone. At the end the socket file is
// removed, if it still is the one that was made.
//
// In a folder that others can write to, anybody may have taken the name. So clients look who listens, and send nothing to
// another user but root; for root the owner of the file will do as well (ErrOtherUser). Of an own client, such as curl, that is not
// asked: keep file and socket in a folder of your own.
//
// # The protocol
//
// HTTP/1.1 with JSON, under the path /v1: fields and endpoints are added, never renamed; what would break a client gets
// another version.
//
//	GET  /v1/status               Status: the counters of the outbox, and the health of the relay
//	GET  /v1/health               Health: whether the process works, degraded or not, and which file it has open; always 200
//	POST /v1/retry-now            ends the backoff that any topic is in; answers with the health, as do the next two
//	POST /v1/pause                nothing is published until resume, or until the relay and this process have ended
//	POST /v1/resume
//	GET  /v1/events               a line of JSON for each event (outbox.Info), in order; ?topic= &state= &after= &through=
//	                              &since= &until= (RFC 3339) &error= &limit= select as outbox.Filter does
//	GET  /v1/events/{sequence}    Event: what is known of one event; with ?payload=1 also its payload, in base64
//	GET  /v1/tail                 as /v1/events, and then the events that are appended, as they come, until either side ends;
//	                              without &through= &until= &limit=
//	POST /v1/events/replay        ReplayRequest; answers with outbox.ReplayResult
//	POST /v1/events/discard       DiscardRequest; answers with outbox.DiscardResult
//	POST /v1/handover             another process wants the file: this one closes it within a second, or answers "kept"
//	GET  /v1/audit                a list of outbox.AuditEntry, the newest last; ?limit= only so many
//	GET  /v1/backup               a copy of the outbox file, payloads included; an answer that breaks off is none
//
// Relays in processes of their own use two more. Whoever has the lease drains the outbox: one relay at a time.
//
//	POST /v1/relay                the lease; ?name= is told to others. Lines of JSON follow for as long as the connection lasts:
//	                              {"waiting":"…"} another relay has the lease, {"lease":7,"seconds":5} it is granted, and then
//	                              {"wake":true} something was appended, {"ask":"pause","number":3} to be answered by a report
//	POST /v1/relay/{lease}/{call} a call of relay.Source, or a report of how the relay does. Answers "lease_lost" when another
//	                              relay has the lease by now
//
// The connection is the lease: when it ends, because the relay has ended or died, the next one has it at once. A relay that is
// connected, but was not heard of for Options.Lease, has lost it. Each lease has a number of its own, and a call with an older
// one changes nothing (fencing): a relay that was frozen and wakes up settles, parks and appends nothing. What it still sends to
// Redis is refused there.
//
// Options.Routes adds endpoints of what this package does not know of, such as those of package changes/api. ServeTCP serves
// such endpoints, but none of those above, on a loopback address with a bearer token, for programs that cannot use a unix
// socket: a port tells nothing of who is connected, so that what an operator does there could not be put down to anybody.
//
// A request that fails is answered with {"error":{"code":"not_found","message":"…"}}; the codes are those of Error. A list
// that cannot be completed ends with such a line. Only ?payload=1 and backup answer with payloads; nothing answers with
// credentials.
//
// # Limits
//
// Requests take at most 1 MiB and 10 s to arrive; what is sent back may stall for 30 s. Of larger ones, which Options.Routes
// may take, two are worked on at once (503 busy, with Retry-After, answers one more). A replay or discard takes at
// most MaxSequences at once; the client makes several requests of more.
//
// The socket has 128 connections at once, a port 64, each no more than a quarter of the files that the process may have open. On a
// port a header takes at most 5 s, a pause between two requests 15 s, and
// after an answer 401 or 421 the connection is closed. When all are taken, the one that has waited longest without a request
// makes room for a new one.
//
// The audit log names the user of the process that is connected, as the system tells (on Linux; elsewhere "unknown").
package control
