// Package relay drains an outbox to Redis Pub/Sub and, if asked to, to streams: in order, each event once, for as long as it
// takes.
//
//	client := relay.NewClient(relay.ClientOptions{Addrs: []string{"localhost:6379"}})
//	defer client.Close()
//	r := relay.New(box, relay.NewRedis(client, 5*time.Second), relay.Options{
//		Channels:     map[string]string{"match_updates": "fogis:matches:updates"},
//		MinReceivers: map[string]int{"match_updates": 1},
//	})
//	err := r.Run(ctx) // blocks; nil when ctx ends
//
// # How an event is published once
//
// Redis itself refuses repeats. For each origin (outbox file) and channel it keeps a high-water mark: sequence and message
// ID of the event that it last accepted, in the hash matchrelay:{<channel>}:hwm:<origin>. One atomic script compares the
// mark with the predecessor of the batch, moves it, and publishes. So a batch whose answer was lost can be sent again
// without harm: the script finds the mark at an event of the batch and skips what it has seen. Several batches share a
// round trip; each names its predecessor, and one that follows a failure changes nothing.
//
// When the mark is something else, the relay judges from the file: an event of this file that came later means that an
// answer was lost; an older one, or none, means that Redis has forgotten, and what it lost is restored; one that the file does
// not know means that the file is an older copy of one that went on, and it takes a fresh origin, three times in ten minutes at
// most: what goes on after that is somebody else's doing. Nothing is ever skipped as seen unless its own message ID was seen.
//
// The channels of topics may be exchanged between two runs: a mark that names an event of another topic says nothing of this one,
// and becomes its own. A stream belongs to its channel: it keeps what it has of the topic that had the channel before, and is
// given what the other one has retained, as a new stream is. Readers take the sequences of a stream's origin to rise: let
// everything be delivered and read before.
//
// # When Redis dies
//
// What Redis had accepted and not yet pushed to its subscribers dies with it. Every call insists on the run_id of the
// Redis that it knows. When another one answers, the relay waits until as many subscribers are there as before (at most
// Options.RejoinWait, of the time in which Redis answers), and until the topic has those that it requires, publishes the tail
// again, in order and with the same message IDs, and goes on. Those are the only repeats. What no one hears of the tail then
// counts as unheard, whoever may have heard it before.
//
// The tail is what Redis took in the 0.2 s before it was last heard of, and what it took up to a minute before and was still in
// an output buffer when the relay last looked (CLIENT LIST: of any subscriber, because Redis does not tell who reads which
// channel). The relay looks four times a second while there is a tail. Redis was last heard of when the relay sent the last call
// but one that was answered. Under load that is moments before the death: half a second of events comes again. A topic that has
// nothing to send, or is paused, asks once a moment after its last event. Where Redis does not tell (no +client|list), and in a
// Cluster, whose nodes pass events on to each other, 2 s take the place of 0.2 s, no one counts as slow where it does not tell,
// and events up to 4 s old may come again. While calls hang, and while no relay runs, Redis is not heard of, and the tail stays
// what it was: it does not grow, but its events become older. So a relay that is told to end (its context is cancelled) looks
// once more before it does. A Redis that dies once more, just after the tail was published
// again, makes it come again together with what was sent since. The outbox stores where each tail begins
// (outbox.Progress.TailFrom), so that the next relay knows.
//
// # What an outage costs
//
// Time. Connection loss, time-outs, LOADING, READONLY, OOM, MISCONF, missing rights and the like are the channel's fault:
// the relay retries for ever, with exponential backoff, and no event loses an attempt. Only an event that fails alone,
// between calls that all succeed on the same run of Redis, is parked after Options.MaxRetries attempts, and its topic
// goes on.
//
// What answers may be no Redis, or a broken one. Every reply is checked before it is believed, and before any memory is set
// aside for it: strings have 64 MiB at most, replies 128 MiB. One that no Redis gives is an outage, and nothing that it says is
// stored; so is a mark that cannot be one, which somebody else has written.
//
// # Subscribers
//
// Pub/Sub forgets a message that no one hears. A topic can require a number of subscribers (Options.MinReceivers); while fewer
// are there its events are held, and other topics go on. What was published to no one is counted as unheard and can be
// replayed; Redis keeps the latest thousand of them beside the mark until the file has stored them, in case the answer is cut
// off or the relay dies. While the disk is too full for that, no more than these are published to no one. Subscribers are
// counted with PUBSUB NUMSUB: those by pattern (PSUBSCRIBE) do not count.
//
// A subscriber that reads more slowly than a backlog is sent would be disconnected by Redis once its output buffer is over
// client-output-buffer-limit pubsub (32 MB, or 8 MB for a minute). So the relay looks at the buffers after every 4 MB, and
// waits while one holds more than that; one that reads nothing at all for a minute is not waited for any longer. Where Redis
// does not tell (CLIENT LIST), it sends at a fixed pace. A topic that has little to send is never kept waiting by another.
//
// # Pausing
//
// Relay.Pause stops publishing until Relay.Resume, whatever happens to Redis meanwhile; events wait in the outbox. An outage
// that begins in a pause shows when it ends. It is kept in memory: a relay that is made anew is not paused.
//
// # Streams
//
// With Options.Streams each event is also added to a Redis Stream, StreamKey(channel), by the script that publishes it. So
// a program that was away can read what it missed. The mark counts what was added apart from what was published: when
// only one of the two is refused for a while, each event still comes once on both. When Redis has forgotten a part of the
// stream, what is missing is added again, from what the outbox retains and as much as the stream keeps, before anything else:
// without PUBLISH, for subscribers had it, and without repeats. A stream never holds an event twice, also not when
// an older copy of the outbox file is put back: what it holds is looked up when a relay begins, and when another Redis answers.
// Several outboxes may share a channel and its stream; then a stream that is
// evicted alone, without the marks, and made anew by another outbox's event is not noticed.
//
// Consume reads a stream for programs that must not miss what happened while they were away: what is there, then each event
// as it is added, from a position that it stores where the caller says. Each event is handed over once by (origin, sequence),
// over restarts of the reader and of Redis; a replay is a new sequence and arrives. The position is saved every 256 events or
// 100 ms, and when there is no more: a reader that dies gets what it handled since then again, with the same message IDs; one that
// writes StreamEvent.Position in the transaction of its own state gets exactly-once effects. Each entry names its predecessor,
// the event before it of its topic: so a reader notices what was trimmed before it was read, and Consume ends with ErrGap or
// calls ConsumeOptions.OnGap. The stream is not trimmed past what its consumer groups, and readers with a name, have still to
// read, until it has Options.StreamMaxUnread entries; where Redis does not tell what that is, and for readers without a name,
// about StreamMaxLen are kept. Several workers share a stream as a consumer group: see the example.
//
// # Where it runs
//
// On a single Redis, with or without TLS; with replicas, behind Sentinels; and in a Redis Cluster. Failovers forget what was
// not replicated yet: see above. With Options.WaitReplicas an event is settled only after so many replicas have it.
//
// In a Cluster the mark and the stream of a channel share its slot. Subscribers may be at any node, replicas too: all nodes are
// asked for them before each call, and one that does not answer within half a second counts for none. When the slot moves,
// its old master lives on, and nothing is published again; all nodes have answered before the new one publishes, so that the
// order stays. While the slot's keys are at both nodes, the topic waits; with Options.WaitReplicas it waits until the slot
// has moved. When the master dies or hangs, the replica that is promoted is another run, and what it had not been given yet
// is restored. So it is after a failover by hand, too: the tail comes twice on Pub/Sub.
//
// What dies with another node than the channel's master is not noticed: what subscribers there had not got yet, or miss
// until they are back, is lost to them. Those at the master itself, and readers of the stream, lose nothing.
//
// # What it asks of Redis
//
// A user with these rights is enough: ~matchrelay:* &<channels> +hello +evalsha +script|load +hmget +hset +expire +publish.
// Streams take ~{<channel>}:stream +xadd +exists +xrevrange, WaitReplicas +wait, a Cluster +cluster|slots and,
// to follow a slot that is being moved, +asking, and a reader of streams ~{<channel>}:stream +hello +xread +xrange, with a name also
// +xgroup|create +xgroup|setid.
// Some are optional, and events are delivered without them: +info, without which a death of Redis is not told from a
// broken connection and nothing is published again; +pubsub|numsub, without which subscribers cannot be counted and
// none are waited for (in a Cluster, what no one at the channel's own node hears then counts as unheard); +client|list,
// for slow subscribers; and +xlen +xinfo|groups +xpending +xtrim, for slow readers of streams. Examine finds out which are there. Two topics must not share
// a channel. Redis should not evict keys (maxmemory-policy noeviction).
//
// # Files
//
// relay.go: Relay, Options, Source. lane.go: the life of one topic. look.go: its end. publish.go: what it sends. recover.go:
// after an outage. judge.go: what Redis's mark means. repair.go: what Redis has forgotten. failure.go: what a failure costs.
// classify.go: whose fault it is. flow.go: slow subscribers. tail.go: what a death of Redis could take. origins.go: too many
// fresh origins. stray.go: marks of other topics. target.go: what Redis is to the relay. redis.go, reply.go and *.lua: how that
// is done. deadline.go: how long a call may take. nodes.go: the nodes of a Cluster. client.go: connections. guard.go,
// guard_form.go: what a reply may be. discreet.go: errors that repeat secrets. knownreply.go: what is shown of error replies.
// sentinel.go: where the master is. status.go, streamhealth.go, alert.go: what operators get to know. examine.go,
// examine_node.go: what Redis is and permits. consume.go, consumer.go, consumer_read.go, streamevent.go: reading the stream.
// pace.go: how much at once. gap.go: what is missing. reader_name.go: what the relay knows of a reader. position.go,
// positionfile.go: where it stands. misfits.go: events that cannot be given to Redis again. pause.go: Pause. lasting.go: what
// outlives the end.
package relay
