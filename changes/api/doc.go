// Package api lets processors in any language record match lists and events over HTTP, and commands read the recorded list,
// while another process has the outbox open.
//
// A Go processor serves it on its control socket with one option; matchrelay run and matchrelay relay do so as well:
//
//	control.Serve(ctx, control.Options{Outbox: box, Relay: r, Routes: api.Routes(recorder, api.Options{})})
//
// What follows is all that a client needs to know. docs/sidecar/post_matches.py is one in Python.
//
// # Where it is served
//
// On the control socket, a unix socket beside the outbox file (MATCHRELAY_SOCKET, default data/matchrelay.db.sock). Its mode
// is 0600: who may use the file may use it, and needs no token.
//
//	curl --unix-socket data/matchrelay.db.sock --data-binary @matches.json http://localhost/v1/matches
//
// Beside that on a loopback address, when MATCHRELAY_HTTP_ADDR is set, such as 127.0.0.1:8000. Every request there brings the
// token of MATCHRELAY_HTTP_TOKEN (16 characters or more), and names localhost or a loopback address as its Host:
//
//	curl -H "Authorization: Bearer $MATCHRELAY_HTTP_TOKEN" --data-binary @matches.json http://127.0.0.1:8000/v1/matches
//
// Every local user, and every web page in a local browser, can connect to a port. The token keeps them out: a page does not
// know it. One whose own name was made to point to this machine (DNS rebinding) gives itself away by its Host. Only what is on
// this page is served there, but for resync: what operators do (replay, discard, pause, resync) is put
// down to the user at the other end of the socket, whom a port does not tell.
//
// # What an answer means
//
// 200 means that what was asked for is committed to the disk (fsync): it outlives a crash, and the events will be delivered,
// once, in order, however long Redis is away. Any other answer means that nothing was done (but that PREVIOUS_MATCHES_FILE may have been imported); only 500 failed, and no answer (the
// connection broke, a time-out), mean that either may hold: repeat the request under the same Idempotency-Key.
//
// # POST /v1/matches: record a match list
//
// The body is the list as FOGIS sends it: [...], {"matches":[...]} or {"matchlista":[...]}, up to 64 MiB and 50,000 matches.
// Each match needs a matchid of its own, and may have up to 200 referees, 200 contacts and
// 1,000 fields. Its bytes reach subscribers as they are, unknown fields included. The list is
// compared with the recorded one; what changed becomes one match_updates event, committed together with the new list.
//
//	?fetched_at=TIME   when the list was asked for, before the request to the source: 2025-09-21T10:30:00Z (RFC 3339; the + of an
//	                   offset is written %2B). A list that is older than the recorded one is refused (409 stale_list), so
//	                   that a late retry or a second source never sets subscribers back. One of the same moment is not
//	                   older. More than 5 minutes after the clock of this machine is refused (400), for it would lock out all
//	                   lists until then. Without it the list is the newest, and counts as fetched now.
//	?allow_empty=1     an empty list means that every match is gone. Without it an empty list after one with matches is refused
//	                   (422 empty_list), because a source that fails looks like that.
//	?dry_run=1         tell what would change, and change nothing, nor use the key
//
// The answer counts matches, but for changes and change_types, which count changes; it names nobody. sequences are those of
// the events in the outbox: none if nothing changed.
//
//	{"matches":15,"new":2,"updated":1,"cancelled":0,"removed":0,"changes":3,"change_types":{"new_assignment":2,"time_change":1},
//	 "high_priority":true,"sequences":[41]}
//
// # POST /v1/events: append an event
//
// The body, up to 1 MiB, is the type, processing_status or system_alert, and its payload:
//
//	{"type":"processing_status","payload":{"status":"completed","cycle_number":7,"processing_duration_ms":812,
//	 "matches_processed":15,"errors":[],"details":{}}}
//	{"type":"system_alert","payload":{"alert_type":"processing_error","severity":"error","message":"FOGIS does not answer","details":{}}}
//
// It becomes a message with a message_id, timestamp, source and version; the payload goes out byte for byte, with a timestamp
// if it has none. Or the body is a whole message with all of those, which goes out byte for byte under its own message_id.
// matchrelay schema print TYPE shows what is expected of either. The header Idempotency-Key is required. Answer:
//
//	{"sequences":[42],"message_id":"01996c4e-8f50-7cc1-9c7d-0b7c2c0a8d11"}
//
// A match_updates event is refused (422 wrong_endpoint): it would tell subscribers of another list than the recorded one, with
// which the next list is compared. POST /v1/matches makes it of the list.
//
// # Idempotency-Key
//
// A header of 1 to 255 printable ASCII characters, required for /v1/events and advised for /v1/matches. The key, a SHA-256 of
// the request (path, parameters in any order, body) and the answer are stored in the transaction of what the request does. The
// same request under the same key is answered byte for byte as before, with the header Idempotency-Replayed: true, and does
// nothing (with Event-State: parked, or discarded, when the event of the first answer is: it is not sent, see events replay): also when it came twice at once, after a crash, when the list is stale by now or the disk full. Another request
// under the same key is refused (422 key_reused). A request that failed leaves no key: it may be repeated, or mended. The
// socket and the port know the same keys.
//
// A key is kept for 7 days. Only the newest 100,000 are kept: at more than one request in 6 s all week long, the oldest go
// earlier, but not before a day is over as long as there is no more than one a second. Each new key removes up to 4 old ones.
//
// These keys are apart from outbox.Event.Key, which knows no answers, lasts as long as the event, and is the processor's own.
//
// # GET /v1/matches, /v1/matches/{id}, /v1/matches/{id}/history
//
// The recorded list, by date and kick-off, as a JSON list; one match; and a line of JSON for each change of one match that the
// log still holds, oldest first. They hold no personal data unless ?raw=1 asks for it.
//
//	?at=TIME   the list as it was then, as far back as the log goes (OUTBOX_RETENTION); not for a history
//	?raw=1     the matches as they were recorded, byte for byte; the values of all fields in a history
//
//	{"match_id":"6186203","match_nr":"000402010","date":"2025-05-06","time":"17:00","home":"…","away":"…","venue":"…",
//	 "competition":"…","referees":2,"cancelled":false,"postponed":false,"interrupted":false}
//	{"sequence":41,"time":"…","match_id":"6186203","category":"time_change","priority":"high","field":"avsparkstid",
//	 "from":"17:00","to":"18:00","hidden":false}
//
// A history that cannot be read whole ends with a line {"error":{…}}.
//
// # POST /v1/resync, on the socket only
//
// Appends a match_updates event with the whole recorded list, for subscribers who have lost it. Body: {"reason":"…"} for the
// audit log, or none. ?dry_run=1 appends nothing. Answer: {"matches":15,"sequences":[43]}.
//
// # Errors
//
// A request that fails is answered with {"error":{"code":"…","message":"…"}}. Messages name fields, places and match ids, and
// say what is expected; they repeat no value of a body. Repeat what failed with 5xx or without an answer, with growing
// pauses; 4xx needs another request.
//
//	400 invalid            a parameter or the Idempotency-Key is wrong or missing, a time is in the future, or the body broke off
//	400 invalid_list       the body is no match list
//	400 invalid_event      the body is no event, or breaks its schema
//	400 unknown_parameter  it is misspelt, or of another version
//	401 unauthorized       on a port: no token, or another one
//	404 not_found          no such match, or the log does not go back that far
//	404 no_state           resync: no list is recorded
//	404 unknown_path       misspelt, not served there, or of another version
//	405 method_not_allowed the header Allow names those that are
//	409 stale_list         a newer list is recorded: forget this one, fetch again
//	409 events_off         resync: REDIS_PUBSUB_ENABLED is false (lists are recorded all the same, with no sequences)
//	413 too_large          the body, or the event that it makes (OUTBOX_MAX_EVENT_BYTES)
//	421 wrong_host         on a port: the header Host is neither localhost nor a loopback address
//	422 empty_list         see allow_empty
//	422 key_reused         the key belongs to another request
//	422 wrong_endpoint     a match update was posted as an event
//	500 state_damaged      the recorded list cannot be read: restore a backup
//	500 damaged, failed    the file is damaged; or a write failed, perhaps after it was done: restart, and repeat under the same key
//	500 internal           anything else
//	503 busy               two requests of more than 1 MiB, or of a length that is not told, are worked on already: repeat it in a
//	                       second (Retry-After)
//	503 closed             the process is ending
//	507 full               only undelivered events are left, and OUTBOX_MAX_BYTES is reached
//	507 disk_full          the disk has no room
//
// # Limits
//
// A request has 10 s to arrive, what is sent back may stall for 30 s, a connection idle for 1 minute; headers have up to 16 KiB.
// On a port a header has 5 s, a connection idle for 15 s, and after 401 and 421 it is closed. A port has 64 connections at once, the
// socket 128 (fewer where few open files are allowed); one more takes the place of the one that has waited longest without a request.
// The path /v1 stays: fields and parameters are added, never renamed.
package api
