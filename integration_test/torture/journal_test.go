package torture

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
)

// now is the time since the plan began.
func (r *rig) now() string {
	return r.when(time.Now())
}

func (r *rig) when(at time.Time) string {
	began := r.began.Load()
	if began == nil {
		return "before"
	}
	return fmt.Sprintf("%.3fs", at.Sub(*began).Seconds())
}

// note writes down what has happened.
func (r *rig) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.journal = append(r.journal, fmt.Sprintf("%10s  ", r.now())+fmt.Sprintf(format, args...))
}

// find notes something that is wrong. The run goes on.
func (r *rig) find(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.note("WRONG: %s", text)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.findings = append(r.findings, text)
}

// tell writes down at the end what has happened, so that it can be found out why, or removes it all.
func (r *rig) tell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.t.Failed() && os.Getenv("TORTURE_KEEP") == "" {
		_ = os.RemoveAll(r.logs)
		return
	}
	_ = os.WriteFile(filepath.Join(r.logs, "journal"), []byte(strings.Join(r.journal, "\n")+"\n"), 0o600)
	subs := map[string]*redistest.Subscriber{"direct": r.direct}
	maps.Copy(subs, r.others)
	for name, sub := range subs {
		var lines strings.Builder
		for _, m := range sub.Messages() {
			fmt.Fprintf(&lines, "%s connection %d: %s %s\n", r.when(m.At), m.Connection, topicOf[m.Channel], redistest.EnvelopeID(m.Payload))
		}
		_ = os.WriteFile(filepath.Join(r.logs, "received-by-"+name), []byte(lines.String()), 0o600)
	}
	if b, err := os.ReadFile(r.db()); err == nil {
		_ = os.WriteFile(filepath.Join(r.logs, "outbox.db"), b, 0o600)
	}
	if r.pair == nil {
		return
	}
	for name, server := range map[string]*redistest.Server{"master": r.pair.master, "replica": r.pair.replica} {
		_ = os.WriteFile(filepath.Join(r.logs, "redis-"+name+".log"), []byte(server.Log()), 0o600)
	}
	r.t.Logf("the last of %s:\n%s", filepath.Join(r.logs, "journal"), strings.Join(r.journal[max(0, len(r.journal)-60):], "\n"))
	r.t.Logf("journal, logs of all processes, and the outbox: %s", r.logs)
}

// eventually waits for what must become true: missing says what is not there yet, "" when nothing is missing. As long as that
// changes, it is waited for.
func (r *rig) eventually(what string, missing func() string) bool {
	last := ""
	for until := time.Now().Add(patience); time.Now().Before(until); <-time.After(20 * time.Millisecond) {
		now := missing()
		if now == "" {
			return true
		}
		if now != last {
			last, until = now, time.Now().Add(patience)
		}
	}
	r.find("for %v nothing has changed, and it is not so that %s: %s", patience, what, last)
	return false
}
