// Package redistest runs real redis-server processes for tests, records what
// their subscribers receive, and judges whether that is what was appended.
//
//	server := redistest.Start(t, redistest.Options{Persistence: redistest.AOF})
//	sub := redistest.Subscribe(t, server.Addr(), redistest.SubscriberOptions{Channels: []string{"news"}})
//	sub.WaitSubscribed(1)
//	... publish ...
//	server.Kill() // SIGKILL
//	server.Start() // same port, same data folder
//	sub.WaitFor(100)
//	require.Empty(t, redistest.History{
//		Appended:    appended,
//		Subscribers: map[string][]redistest.Event{"sub": redistest.Events(sub.Messages(), topics, redistest.EnvelopeID)},
//		Streams:     map[string][]redistest.StreamEntry{"news": redistest.ReadStream(t, server.Client(), "{news}:stream")},
//		Status:      counts,
//	}.Check())
//
// Servers also come in company: as replicas (Options.ReplicaOf), with sentinels
// that promote them (StartSentinels), or as a cluster (StartCluster). A Proxy
// does to connections what networks do.
//
// A server belongs to its test: it is killed at the test's end, by the process
// that was started and never by name. Everything here may be called from the
// test's own goroutine only, unless it says otherwise.
package redistest
