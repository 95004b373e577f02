// Package simulation runs the real relay and the real outbox in virtual time against a model of Redis, through hours of
// faults a second, and judges each run by what matchrelay promises.
//
//	make simulate SEEDS=1000 FROM=1
//
// One seed decides everything: the settings, a schedule of steps (what the processor, Redis, the network, subscribers,
// operators and the machine do, and when) and how long each call takes. A seed that fails is shrunk to the steps that matter
// and printed as a schedule; put into testdata, it is run by every test from then on.
//
// # How it is made
//
// schedule.go: settings and steps, as text and back. draw.go, draw_more.go: a schedule from a seed. world.go: one run, in a
// bubble of testing/synctest; steps.go: what a step can do. process.go: the processor, which has the file, lives and dies;
// processor.go: what it appends; operator.go: what people do; redis.go: what befalls Redis. drain.go: a relay in the
// processor's process. target.go and source.go stand between a relay and the world, and let every call take time, fail, or
// never come back. facts.go: what a run is judged by; progress.go: whether anything has come to a stand; judge.go, judge_*.go:
// whether what happened is what was promised. shrink.go: the shortest schedule that still fails.
//
// In some runs (relay=socket) the processor only serves its outbox, and relays in processes of their own (relayprocess.go)
// compete for the lease of package control. They reach it over connections in memory (wire.go) that can be cut off or go
// silent, so that what was sent arrives late; fence.go sees to it that what comes from a relay of an old lease is refused.
//
// Replicas (replicas.go), where calls wait for them, lag; one that is promoted has what they have confirmed.
//
// A full disk (disk.go) is that of the system: the real outbox meets its errors, in a database of the processor's.
//
// The model of Redis: store.go (marks), stream.go (streams, and how Redis trims them), groups.go (their consumer groups), scripts.go (what the relay's scripts
// do), subscriber.go (output buffers) and server.go (processes that die, freeze, forget and fail over). It is held against a
// real redis-server by TestModel_AgreesWithARealServer.
//
// # What makes a run repeatable
//
// Only one goroutine is ever awake: each call of the relay begins with a sleep whose length is drawn for that caller, in
// nanoseconds, so that no two calls are made at the same instant. Random numbers that the program itself draws (the jitter of
// its backoff, UUIDs) do not matter but for the jitter, which a process that runs seeds draws from the seed.
package simulation
