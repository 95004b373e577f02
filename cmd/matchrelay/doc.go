// Command matchrelay records FOGIS match lists in a durable outbox and relays what changed to Redis Pub/Sub, in order and
// without losing an event, whatever happens to Redis.
//
//	matchrelay demo                                 see it work, with an outage in the middle
//	matchrelay run --source my-list.json            processor and relay in one process
//	matchrelay ingest my-list.json                  record one match list
//	matchrelay status                               what is delivered, what waits, what is parked
//	matchrelay matches list                         the matches, as the outbox holds them
//	matchrelay doctor                               what is not as it should be, and the mend
//	matchrelay events list --state parked           the log, event by event
//	matchrelay events tail                          what is appended, as it comes
//	matchrelay events replay --state parked         send it once more
//	matchrelay backup save copy.db                  a copy of the outbox, while it is in use
//	matchrelay check                                whether the file is sound, and the match list what the log says
//	matchrelay healthcheck                          for containers: whether the process is alive
//	matchrelay pause                                publish nothing for now; resume, retry-now
//
// # How the program is put together
//
// main.go handles signals and the exit code; app.go holds the root command and the global flags. Each command is a file:
// run.go, relay.go, ingest.go, status.go, healthcheck.go, events_list.go, events_show.go, events_tail.go,
// events_replay.go, events_discard.go, audit.go, matches_*.go, resync.go, backup.go, check.go, compact.go, schema.go,
// completion.go, config.go, doctor.go, control.go (pause, resume, retry-now), version.go, bench.go, demo.go. What they share:
// open.go (outbox, recorder and relay from the configuration), source_*.go (where match lists come from), previous.go
// (the list that an outbox begins with), events_selection.go (the flags that choose events) and events_choice.go (the
// events that they choose), events_bulk.go (plan, ask, act step by step), confirm.go, progress.go, verify.go (a file
// verified by a child process), exit.go (errors to exit codes), output.go, logging.go and disk.go. dev.go is what run --dev brings
// along, listener.go its subscriber and the demo's. What doctor has to know is gathered in doctor_patient.go and judged
// in doctor_checks.go, doctor_file.go, doctor_connection.go, doctor_redis.go and doctor_topics.go. The demo's story is in
// demo_story.go, what it counts and judges in demo_book.go, how it looks in demo_screen.go, the Redis that it stops in
// demo_redis*.go. What bench measures is in bench_append.go and bench_deliver.go, the Redis that it asks in bench_redis.go.
//
// status, events, audit, matches, ingest, resync, check, backup save and relay work through the control socket of the process
// that has the outbox open, else on the file: see openStore in control.go; status_live.go is what status shows of a relay
// that runs. healthcheck, pause, resume and retry-now need such a process.
//
// # What goes where
//
// Data goes to standard output, logs and errors to standard error. Payloads and matches hold personal data: only
// "events show --payload" and "matches ... --raw" show it; passwords never.
//
// # Exit codes
//
//	0  ok
//	1  failure
//	2  usage: a wrong flag, argument or setting
//	3  not found: no such outbox, event, match or input file
//	4  the outbox is held by another process, or by none where one is needed, or Redis does not answer
//	5  verification failed: a damaged file, one that is no outbox, an invalid message, or a demo that lost something
//	6  partly done
//
// status --check answers 0, 1 or 2 for ok, warning or critical instead, and 3 and up as above.
package main
