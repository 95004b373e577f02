// Package relay drains an outbox to Redis Pub/Sub: in order, each event once, for as long as it takes.
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
// answer was lost; an older one, or none, means that Redis has forgotten, and the mark is restored; one that the file does
// not know means that the file is an older copy of one that went on, and it takes a fresh origin. Nothing is ever skipped
// as seen unless its own message ID was seen.
//
// # When Redis dies
//
// What Redis had accepted and not yet pushed to its subscribers dies with it. Every call insists on the run_id of the
// Redis that it knows. When another one answers, the relay waits until as many subscribers are there as before (at most
// Options.RejoinWait), publishes what it had sent in the last 2 s of the old one again, in order and with the same message
// IDs, and goes on. Those are the only repeats.
//
// # What an outage costs
//
// Time. Connection loss, time-outs, LOADING, READONLY, OOM, MISCONF, missing rights and the like are the channel's fault:
// the relay retries for ever, with exponential backoff, and no event loses an attempt. Only an event that fails alone,
// between calls that all succeed on the same run of Redis, is parked after Options.MaxRetries attempts, and its topic
// goes on.
//
// # Subscribers
//
// Pub/Sub forgets a message that nobody hears. A topic can require a number of subscribers (Options.MinReceivers); while
// fewer are there its events are held, and other topics go on. What was published to nobody is counted as unheard and can
// be replayed; Redis keeps that beside the mark, in case the answer is cut off. Subscribers are counted with PUBSUB NUMSUB:
// those by pattern (PSUBSCRIBE) do not count.
//
// # What it asks of Redis
//
// A user with these rights is enough: ~matchrelay:* &<channels> +hello +evalsha +script|load +hmget +hset +expire +publish.
// Two more are optional, and events are delivered without them: +info, without which a death of Redis is not told from a
// broken connection and nothing is published again; and +pubsub|numsub, without which subscribers cannot be counted and
// nobody waits for any. Two topics must not share a channel. Redis should not evict keys (maxmemory-policy noeviction).
//
// # Files
//
// relay.go: Relay, Options, Source. lane.go: the life of one topic. recover.go: after an outage. failure.go: what a failure
// costs. classify.go: whose fault it is. target.go and *.lua: Redis. client.go: connection options. sentinel.go: where the
// master is. tail.go: what a death of Redis could take. status.go, alert.go: what operators get to know.
package relay
