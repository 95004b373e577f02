// Command matchrelay records FOGIS match lists in a durable outbox and relays what changed to Redis Pub/Sub, in order and
// without losing an event, whatever happens to Redis.
//
//	matchrelay demo                                 see it work, with an outage in the middle
//	matchrelay run --source my-list.json            processor and relay in one process
//	matchrelay ingest my-list.json                  record one match list
//	matchrelay status                               what is delivered, what waits, what is parked
//	matchrelay doctor                               what is not as it should be, and the mend
//	matchrelay events list --state parked           the log, event by event
//	matchrelay pause                                publish nothing for now; resume, retry-now
//
// # How the program is put together
//
// main.go handles signals and the exit code; app.go holds the root command and the global flags. Each command is a file:
// run.go, relay.go, ingest.go, status.go, events_list.go, events_show.go, events_replay.go, config.go, doctor.go,
// control.go (pause, resume, retry-now), version.go, demo.go. What they share: open.go (outbox, recorder and relay from the configuration), source_*.go (where
// match lists come from), exit.go (errors to exit codes), output.go and logging.go. status and
// events work through the control socket of the process that has the outbox open, else on the file: see openStore in
// control.go; status_live.go is what status shows of a relay that runs. dev.go is what run --dev brings
// along, listener.go its subscriber and the demo's. What doctor has to know is gathered in doctor_patient.go and judged
// in doctor_checks.go, doctor_file.go, doctor_connection.go, doctor_redis.go and doctor_topics.go. The demo's story is
// in demo_story.go, what it counts and judges in demo_book.go, how it looks in demo_screen.go, the Redis that it stops
// in demo_redis.go.
//
// # What goes where
//
// Data goes to standard output, logs and errors to standard error. Payloads hold personal data and are shown by
// "events show --payload" only; passwords never.
//
// # Exit codes
//
//	0  ok
//	1  failure
//	2  usage: a wrong flag, argument or setting
//	3  not found: no such outbox, event or input file
//	4  the outbox is held by another process, or by none where one is needed, or Redis does not answer
//	5  verification failed: a damaged file, or a demo that lost something
//	6  partly done
//
// status --check answers 0, 1 or 2 for ok, warning or critical instead, and 3 and up as above.
package main
