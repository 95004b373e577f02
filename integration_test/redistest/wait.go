package redistest

import (
	"testing"
	"time"
)

// askEvery is the time between two questions whether something has happened
// that servers do not tell.
const askEvery = 20 * time.Millisecond

// answerWithin is how long a server may take to answer such a question, or a
// step of a set-up: it may be frozen.
const answerWithin = 30 * time.Second

// waitUntil asks until what it waits for has happened: then problem is "".
func waitUntil(t testing.TB, what string, problem func() string) {
	t.Helper()
	deadline := time.After(Patience)
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for last := problem(); last != ""; last = problem() {
		select {
		case <-deadline:
			t.Fatalf("waited %v for %s: %s", Patience, what, last)
		case <-tick.C:
		}
	}
}

// Eventually waits for a condition, for as long as a busy machine may need. It
// leaves the processors to what it waits for: the longer the question takes,
// the less often it asks.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	until := time.Now().Add(Patience)
	for {
		began := time.Now()
		if condition() {
			return
		}
		if began.After(until) {
			t.Fatalf("waited %v for what never came true: %s", Patience, what)
		}
		<-time.After(max(5*time.Millisecond, 3*time.Since(began)))
	}
}
