package mutants

import "time"

// ofSimulation are faults that only a rare course of events brings out; the simulation is to find each within some thousand seeds. Those of
// the scripts are in its model of Redis, which TestModel_AgreesWithARealServer holds the scripts to.
var ofSimulation = []Mutant{
	simulated("the mark is written after PUBLISH", model,
		Change{`	if err := s.unwritable(); err != nil {
		return relay.Reply{}, err
	}
	upto := uint64(0)
`, `	upto := uint64(0)
`}, Change{`	s.write(key, written)
	return answer(outcome)
`, `	if err := s.unwritable(); err != nil {
		return relay.Reply{}, err
	}
	s.write(key, written)
	return answer(outcome)
`}),
	simulated("the predecessor is not compared", model,
		Change{"case from < 0 || behind || ahead && m.added != b.Added:", "case from < 0 && func() bool { from = 0; return false }() || behind && false:"}),
	simulated("the cursor moves before Redis has answered", "relay/publish.go",
		Change{"	replies, err := l.r.target.Publish(ctx, batches...)\n", "	l.sent = entries[len(entries)-1].Sequence\n	_ = l.settle(ctx)\n	replies, err := l.r.target.Publish(ctx, batches...)\n"}),
	simulated("the tail is not published again", "relay/recover.go",
		Change{"	if restarted() && l.tail.from() != 0 {\n", "	if restarted() && ctx.Err() != nil {\n"}),
	simulated("the tail is published again in no order", "relay/recover.go",
		Change{sifted, sifted + "		for i, j := 0, len(b.Events)-1; i < j; i, j = i+1, j-1 {\n			b.Events[i], b.Events[j] = b.Events[j], b.Events[i]\n		}\n"}),
	simulated("the tail is published again to fewer subscribers than required", "relay/recover.go",
		Change{"reply.Outcome == OK && l.short(reply)", "reply.Outcome != OK"},
		Change{"b.Run, b.Receivers, b.Events = run, l.required(), ", "b.Run, b.Receivers, b.Events = run, 0, "}),
	simulated("what no one heard of the tail is not counted", "relay/recover.go",
		Change{"if l.unheard = append(l.unheard, reply.Unheard...); len(reply.Unheard) > 0 {", "if len(reply.Unheard) > 0 {"}),
	simulated("the origin is not renewed after a rollback", "relay/judge.go",
		Change{"	case !known:\n		return l.newOrigin(ctx, found)\n", "	case !known:\n		l.progress.Accepted = found\n"}),
	simulated("former subscribers are not waited for", "relay/recover.go",
		Change{"reply.Receivers < l.progress.Receivers && l.rejoinLeft > 0", "reply.Receivers < l.progress.Receivers && l.rejoinLeft > wait"}),
	simulated("a time-out speaks against an event", "relay/classify.go",
		Change{"	case isTimeout(err):\n		f.mend = mendTimeout\n", "	case isTimeout(err):\n		f.suspect, f.mend = true, mendTimeout\n"}),
	simulated("a held topic holds up the others", "relay/lane.go",
		Change{"	entries := l.ahead\n", `	for _, other := range l.r.lanes {
		if other != l && other.status.get().State == Held {
			l.pause(ctx, time.Second)
			return 0, nil
		}
	}
	entries := l.ahead
`}),
	simulated("what no one heard is not counted", "relay/publish.go",
		Change{"	l.unheard = append(l.unheard, reply.Unheard...)\n", ""}),
	simulated("what no one heard is not counted when the answer was lost", "relay/judge.go",
		Change{"		l.unheard = append(l.unheard, reply.Unheard...)\n", ""}),
	simulated("the mark is restored whatever it is by now", model,
		Change{"	if m.published != r.Reported.Published || r.Stream != nil && m.added != r.Reported.Added {\n		return reply, nil\n	}\n", ""}),
	simulated("the stream is refilled with what it holds", "relay/repair.go",
		Change{"from, goal.Added = max(held.Sequence, oldest), held", "from, goal.Added = oldest, held"}),
	simulated("a receipt counts under another origin", "outbox/settle.go",
		Change{"s.Progress = r.Progress; r.Origin != l.origin()", "s.Progress = r.Progress; r.Origin == \"\""}),
	simulated("a replay of a stale update is allowed", "outbox/replay.go",
		Change{"if entry.Snapshot && !opts.AllowStale {", "if entry.Snapshot && opts.AllowStale {"}),
	simulated("the event after a parked one is taken for amnesia", "relay/publish.go",
		Change{"	before := l.progress.Accepted\n", "	before := outbox.Mark{Sequence: l.sent, MessageID: l.progress.Accepted.MessageID}\n"}),
	simulated("the cursor stays before a parked event, and the next receipt counts that as delivered", "outbox/park.go",
		Change{"		s.cursor = sequence\n", ""}),
	simulated("what was read ahead is published after a pause", "relay/lane.go",
		Change{"		l.ahead = nil // it may be discarded meanwhile\n", ""}),
	simulated("retention removes what is pending", "outbox/prune.go",
		Change{"sequence > s.cursor || s.TailFrom", "s.TailFrom"}),
	simulated("the newest snapshot is removed", "outbox/prune.go",
		Change{"sequence == s.snapshot || l.has", "l.has"}),
	simulated("the number of the lease is not compared", "relay/control/lease.go",
		Change{"if h == nil || h.number != number {", "if h == nil {"}),
	simulated("an event that is to block its topic is passed", "relay/failure.go",
		Change{"	if l.r.opts.BlockOnPoison {\n", "	if l.r.opts.BlockOnPoison {\n		l.sent = sequence\n"}),
	simulated("replicas are not waited for", "relay/publish.go",
		Change{"		b.Predecessor, b.Receivers, b.Events = before, l.required(), entries[:n]\n",
			"		b.Predecessor, b.Receivers, b.Events, b.Wait = before, l.required(), entries[:n], Wait{}\n"}),
	simulated("what a process has taken is published to it again", model,
		Change{"		m.redoRun, m.redoSeq = s.runID(), m.published.Sequence\n", "		m.redoSeq += 0\n"}),
	simulated("a stream is trimmed past what consumer groups have still to read", modelStream,
		Change{"	if len(st.groups) == 0 {\n", "	if len(st.groups) >= 0 {\n"}),
	simulated("a stream is trimmed past what a consumer group has not acknowledged", modelStream,
		Change{"		if len(g.pending) > 0 {\n", "		if len(g.pending) < 0 {\n"}),
	simulated("a stream that has consumer groups is trimmed at any entry", modelStream,
		Change{"		if removed+n > limit || st.entries[n-1].id >= needed {\n", "		if removed+n > limit || st.entries[0].id >= needed {\n"}),
}

// thousands is what that many seeds never take, on a slow machine with several mutants at once: a seed that hangs is found by the
// simulation itself.
const thousands = 2 * time.Hour

const sifted = "		b.Run, b.Receivers, b.Events = run, l.required(), l.unsaid.sift(entries)\n"

const model = "integration_test/simulation/scripts.go"

const modelStream = "integration_test/simulation/stream.go"

func simulated(name, file string, first Change, also ...Change) Mutant {
	return Mutant{Name: "simulation: " + name, File: file, Old: first.Old, New: first.New, Also: also,
		In: "integration_test/simulation", Tests: []string{"TestSimulation_KeepsEveryPromise"},
		Env: []string{"FROM=1", "SEEDS=3000", "STOP=1"}, Limit: thousands}
}
