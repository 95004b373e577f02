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
//	require.Empty(t, redistest.Check(appended, redistest.Events(sub.Messages(), topics, redistest.EnvelopeID), nil))
//
// A server belongs to its test: it is killed at the test's end, by the process
// that was started and never by name. Everything here may be called from the
// test's own goroutine only, unless it says otherwise.
package redistest
