package main

import "time"

// clock is the wall clock by which outbox, recorder and API date what they write; nil means time.Now. Only a build for tests
// has another one, which can be moved: see clock_jump.go.
var clock func() time.Time
