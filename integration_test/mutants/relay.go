package mutants

// ofRelay has those of the scripts, too. All of these but one are also caught by TestModel_AgreesWithARealServer, which holds the
// scripts and the simulation's model of them to each other. That an event is skipped in the stream because another file has added
// one with its number, it does not see: a stream that is ahead of the mark by just such an event is drawn too rarely.
var ofRelay = []Mutant{
	{
		Name: "the cursor moves before Redis has answered",
		File: "relay/publish.go",
		Old:  "\treplies, err := l.r.target.Publish(ctx, batches...)\n", New: "\tl.sent = entries[len(entries)-1].Sequence\n\treplies, err := l.r.target.Publish(ctx, batches...)\n",
		In: "relay", Tests: []string{"TestFaultsOfTheChannelCostNoEventAnAttempt/^OOM$"},
	},
	{
		Name: "all events of a batch count as sent when Redis refuses one in the middle",
		File: "relay/publish.go",
		Old:  "l.accept(upTo(batches[i].Events, reply.Mark), reply)", New: "l.accept(batches[i].Events, reply)",
		In: "relay", Tests: []string{"TestPublish_CountsOnlyWhatRedisTookOfABatch"},
	},
	{
		Name: "the predecessor of a batch is what was settled, also after a parked event",
		File: "relay/publish.go",
		Old:  "before := l.progress.Accepted", New: "before := outbox.Mark{Sequence: l.sent, MessageID: l.progress.Accepted.MessageID}",
		In: "relay", Tests: []string{"TestAfterParkingAnEventTheNextIsNoAmnesia"},
	},
	{
		Name: "what no one heard is not counted",
		File: "relay/publish.go",
		Old:  "\tl.unheard = append(l.unheard, reply.Unheard...)\n", New: "",
		In: "relay", Tests: []string{"TestWhatNobodyHearsIsCountedAndCanBeReplayed"},
	},
	{
		Name: "a sign of life counts from its answer, not from its question",
		File: "relay/publish.go",
		Old:  "l.tail.alive(began)", New: "l.tail.alive(time.Now())",
		In: "relay", Tests: []string{"TestTail_CountsASignOfLifeFromWhenItWasAskedFor"},
	},
	{
		Name: "what no one heard is not counted when the answer was lost",
		File: "relay/recover.go",
		Old:  "\t\tl.unheard = append(l.unheard, reply.Unheard...)\n", New: "",
		In: "relay", Tests: []string{"TestWhatNobodyHeardIsKnownEvenWhenTheAnswerWasCutOff"},
	},
	{
		Name: "what was accepted with a lost answer is not published again when Redis dies",
		File: "relay/recover.go",
		Old:  "\t\tl.tail.add(l.sent+1, 0, time.Now())\n", New: "",
		In: "relay", Tests: []string{"TestTail_HoldsWhatWasAcceptedWithALostAnswer"},
	},
	{
		Name: "subscribers are not waited for after an outage",
		File: "relay/recover.go",
		Old:  "if reply.Outcome == OK && l.outage {", New: "if reply.Outcome != OK && l.outage {",
		In: "relay", Tests: []string{"TestTopicsWaitForTheSubscribersThatWereThereBeforeAnOutage"},
	},
	{
		Name: "the tail is not published again when Redis has died",
		File: "relay/recover.go",
		Old:  "\tif restarted() {\n\t\tif done", New: "\tif restarted() && l.outage != restarted() {\n\t\tif done",
		In: "relay", Tests: []string{"TestAProcessThatDiesTogetherWithRedisPublishesWhatSubscribersMayHaveMissed"},
	},
	{
		Name: "the first event of the tail is not published again",
		File: "relay/recover.go",
		Old:  "after := from - 1; ; {", New: "after := from; ; {",
		In: "relay", Tests: []string{"TestAProcessThatDiesTogetherWithRedisPublishesWhatSubscribersMayHaveMissed"},
	},
	{
		Name: "an older copy of the file keeps its origin",
		File: "relay/recover.go",
		Old:  "\t\treturn l.newOrigin(ctx, found)\n\tcase", New: "\t\treturn l.restore(ctx, reply, p)\n\tcase",
		In: "relay", Tests: []string{"TestAnOlderCopyOfTheFileTakesAFreshOrigin"},
	},
	{
		Name: "a mark beyond the end of the file is taken for one of a pruned event",
		File: "relay/recover.go",
		Old:  `id == "" && m.Sequence <= p.PrunedTo`, New: `id == ""`,
		In: "relay", Tests: []string{"TestNewOrigin_IsTakenByAllTopics"},
	},
	{
		Name: "other topics are not told of a fresh origin",
		File: "relay/recover.go",
		Old:  "\tl.r.origins.Add(1)\n", New: "",
		In: "relay", Tests: []string{"TestNewOrigin_IsTakenByAllTopics"},
	},
	{
		Name: "a held topic publishes when one subscriber fewer than required is there",
		File: "relay/publish.lua",
		Old:  "receivers < tonumber(ARGV[5])", New: "receivers < tonumber(ARGV[5]) - 1",
		In: "relay", Tests: []string{"TestATopicThatRequiresASubscriberIsHeldWhileOthersGoOn"},
	},
	{
		Name: "a stream is filled again from the oldest event on, whatever it holds",
		File: "relay/repair.go",
		Old:  "from, goal.Added = max(held.Sequence, oldest), held", New: "from, goal.Added = oldest, held",
		In: "relay", Tests: []string{"TestARepairThatIsInterruptedGoesOnWithoutRepeats"},
	},
	{
		Name: "what waits in the buffer of a slow subscriber leaves the tail",
		File: "relay/tail.go",
		Old:  "s.end+seen.behind <= seen.sent", New: "s.end <= seen.sent",
		In: "relay", Tests: []string{"TestWhatASlowSubscriberHasStillToReadStaysInTheTail"},
	},
	{
		Name: "a time-out is the event's fault",
		File: "relay/classify.go",
		Old:  "\tcase isTimeout(err):\n\t\tf.mend = mendTimeout", New: "\tcase isTimeout(err):\n\t\tf.suspect, f.mend = true, mendTimeout",
		In: "relay", Tests: []string{"TestWhoseFaultAnErrorIs"},
	},
	{
		Name: "an event is blamed though another run of Redis answers the guards after it",
		File: "relay/failure.go",
		Old:  "\tif !l.testify(ctx, l.progress.Run, OK) {\n\t\treturn f\n\t}\n", New: "\tl.testify(ctx, l.progress.Run, OK)\n",
		In: "relay", Tests: []string{"TestPoison_IsNoEventThatFailsWhileAnotherRunOfRedisAnswers"},
	},
	{
		Name: "what was read before an outage is sent after it, discarded or not",
		File: "relay/failure.go",
		Old:  "l.failing, l.ready, l.ahead = true, false, nil", New: "l.failing, l.ready = true, false",
		In: "relay", Tests: []string{"TestWhatIsDiscardedDuringAnOutageIsNotSentAfterIt"},
	},
	{
		Name: "what was read before a pause is sent after it, discarded or not",
		File: "relay/lane.go",
		Old:  "\t\tl.ahead = nil // it may be discarded meanwhile\n", New: "",
		In: "relay", Tests: []string{"TestWhatIsDiscardedDuringAPauseIsNotSentAfterIt"},
	},
	{
		Name: "what is on its way to the buffers does not count",
		File: "relay/flow.go",
		Old:  "if slowest.Bytes+f.flying.Load() <= f.limit {", New: "if slowest.Bytes <= f.limit {",
		In: "relay", Tests: []string{"TestTopicsTogetherFillNoBufferOverTwiceTheLimit"},
	},
	{
		Name: "a subscriber that reads slowly, but reads, is given up",
		File: "relay/flow.go",
		Old:  "l.least, l.since, l.given = b.Bytes, now, false", New: "l.least = b.Bytes",
		In: "relay", Tests: []string{"TestASubscriberThatReadsNothingIsGivenUpAndTakenUpAgain"},
	},
	{
		Name: "a pause counts as waiting for subscribers",
		File: "relay/pause.go",
		Old:  "l.turns, l.heldSince = 0, time.Time{}", New: "l.turns = 0",
		In: "relay", Tests: []string{"TestAPauseDoesNotCountAsWaitingForSubscribers"},
	},
	{
		Name: "events are settled with one replica fewer than wanted",
		File: "relay/redis.go",
		Old:  "} else if n < wait.Replicas {", New: "} else if n < wait.Replicas-1 {",
		In: "relay", Tests: []string{"TestAnEventIsSettledOnlyWhenItsReplicasHaveIt"},
	},
	{
		Name: "the mark is written after PUBLISH",
		File: "relay/publish.lua",
		Old:  "else\n  write(ARGV[16], ARGV[17], ARGV[16], ARGV[17])\nend\n", New: "end\n",
		Also: []Change{{"if err then\n  write(seq, id, sseq, sid)\nend", "write(seq, id, sseq, sid)"}},
		In:   "relay", Tests: []string{"TestPublish_SendsNothingWhileRedisTakesNoWrites"},
	},
	{
		Name: "the mark stays at the end of a batch of which Redis refused a part",
		File: "relay/publish.lua",
		Old:  "if err then\n  write(seq, id, sseq, sid)\nend", New: "",
		In: "relay", Tests: []string{"TestPublish_MarksWhatRedisTookBeforeItRefusedTheRest"},
	},
	{
		Name: "the message ID of the predecessor is not compared",
		File: "relay/publish.lua",
		Old:  "if seq == ARGV[3] and id == ARGV[4] then", New: "if seq == ARGV[3] then",
		In: "relay", Tests: []string{"TestPublish_ComparesTheMessageIDOfThePredecessor"},
	},
	{
		Name: "the run of Redis is not compared",
		File: "relay/publish.lua",
		Old:  "if ARGV[2] ~= '' and ARGV[2] ~= run then", New: "if ARGV[2] ~= '' and run == '' then",
		In: "relay", Tests: []string{"TestPublish_InsistsOnTheRunOfRedis"},
	},
	{
		Name: "an event is skipped in the stream because another file has added one with its number",
		File: "relay/publish.lua",
		Old:  "not (sseq == ARGV[8] and sid == ARGV[9])", New: "not (sseq == ARGV[8])",
		In: "relay", Tests: []string{"TestPublish_SkipsNothingInTheStreamThatItsCallerDoesNotKnow"},
	},
	{
		Name: "the tail is published again twice when its answer is cut off",
		File: "relay/republish.lua",
		Old:  "local done = mark[3] == run and mark[4] or '0'", New: "local done = '0'",
		In: "relay", Tests: []string{"TestALargeTailWhoseAnswerIsCutOffComesAgainOnce"},
	},
	{
		Name: "a lost mark is restored whatever has taken its place",
		File: "relay/restore.lua",
		Old:  "if seq ~= ARGV[1] or id ~= ARGV[2] or KEYS[2] and (sseq ~= ARGV[3] or sid ~= ARGV[4]) then", New: "if KEYS[2] == '' then",
		In: "relay", Tests: []string{"TestOfTwoRelaysOnlyOneFillsAnEmptyStream"},
	},
	{
		Name: "the last event that was handled is handled again",
		File: "relay/consumer.go",
		Old:  "e.Sequence <= c.at.handled(e.Origin)", New: "e.Sequence < c.at.handled(e.Origin)",
		In: "relay", Tests: []string{"TestWhatWasHandledIsSkippedOfEachOrigin"},
	},
	{
		Name: "a reader's position is saved before its handler has worked",
		File: "relay/consumer.go",
		Old:  "\t\te.Position = next\n", New: "\t\te.Position = next\n\t\tif err := c.save(ctx, next); err != nil {\n\t\t\treturn err\n\t\t}\n",
		In: "relay", Tests: []string{"TestTheErrorOfAHandlerEndsConsumeAtItsEvent"},
	},
	{
		Name: "an entry with the ID of the last one is taken for it, whatever it holds",
		File: "relay/consumer.go",
		Old:  "if err != nil || len(found) == 0 || !c.at.isAt(found[0]) {", New: "if err != nil || len(found) == 0 {",
		In: "relay", Tests: []string{"TestConsume_KnowsItsLastEntryByMoreThanItsID"},
	},
	{
		Name: "what a reader has handled goes back with an event that comes again",
		File: "relay/position.go",
		Old:  "max(sequence, p.handled(p.Origin))", New: "sequence",
		In: "relay", Tests: []string{"TestConsume_HandsNothingOverAgainWhenItReadsFromTheStart"},
	},
	{
		Name: "a reader's position is not on the disk when it gets its name",
		File: "relay/positionfile.go",
		Old:  "errors.Join(err, file.Sync(), file.Close())", New: "errors.Join(err, file.Close())",
		In: "relay", Tests: []string{"TestPositionFile_IsOnTheDiskBeforeItGetsItsName"},
	},
	{
		Name: "the new name of a reader's position is not on the disk",
		File: "relay/positionfile.go",
		Old:  "err = syncFolder(filepath.Dir(string(f)))", New: "_ = syncFolder",
		In: "relay", Tests: []string{"TestPositionFile_IsOnTheDiskBeforeItGetsItsName"},
	},
}

var ofControl = []Mutant{
	{
		Name: "the number of a lease is not compared",
		File: "relay/control/lease.go",
		Old:  "if h == nil || h.number != number {", New: "if h == nil {",
		In: "relay/control", Tests: []string{"TestALeaseOfAnEarlierProcessIsFencedOff", "TestARelayThatIsNotHeardOfLosesTheLeaseAndIsFencedOff"},
	},
	{
		Name: "the lease changes hands while a call of its holder is under way",
		File: "relay/control/lease.go",
		Old:  "\tdefer d.mu.RUnlock()\n\th := d.holder.Load()\n", New: "\th := d.holder.Load()\n\td.mu.RUnlock()\n",
		In: "relay/control", Tests: []string{"TestTheLeaseChangesHandsOnlyWhenNoCallIsUnderWay"},
	},
	{
		Name: "the socket of another process is removed",
		File: "relay/control/socket.go",
		Old:  "|| err == nil && !os.SameFile(now, s.identity) {", New: "|| err == nil && now == nil {",
		In: "relay/control", Tests: []string{"TestOnlyItsOwnSocketFileIsRemoved"},
	},
	{
		Name: "other users may connect to the socket",
		File: "relay/control/socket.go",
		Old:  "os.Chmod(temp, 0o600)", New: "os.Chmod(temp, 0o666)",
		In: "relay/control", Tests: []string{"TestTheSocketHasMode0600AndLeavesNothingBehind"},
	},
}
