package mutants

var ofOutbox = []Mutant{
	{
		Name: "a copy is not on the disk when it gets its name",
		File: "outbox/draft.go",
		Old:  "err = d.file.Sync()", New: "err = nil",
		In: "outbox", Tests: []string{"TestDraft_IsOnTheDiskBeforeItGetsItsName"},
	},
	{
		Name: "the new name of a copy is not on the disk",
		File: "outbox/draft.go",
		Old:  "errors.Join(d.remove(), syncFolder(filepath.Dir(path)))", New: "d.remove()",
		In: "outbox", Tests: []string{"TestDraft_IsOnTheDiskBeforeItGetsItsName"},
	},
	{
		Name: "the name of a new outbox is not on the disk",
		File: "outbox/open.go",
		Old:  "err = syncFound(filepath.Dir(path))", New: "err = nil",
		In: "outbox", Tests: []string{"TestDraft_IsOnTheDiskBeforeItGetsItsName"},
	},
	{
		Name: "an outbox goes on after a sync that failed",
		File: "outbox/commit.go",
		Old:  `return o.fail(fmt.Errorf("commit: %w", err))`, New: `return fmt.Errorf("commit: %w", err)`,
		In: "outbox", Tests: []string{"TestAFailingSystemCallOfACommit"},
	},
	{
		Name: "a file that was replaced under an open outbox is not noticed",
		File: "outbox/commit.go",
		Old:  "cmp.Or(o.checkIdentity(), o.checkSize())", New: "o.checkSize()",
		In: "outbox", Tests: []string{"TestAFileThatIsRemovedOrReplacedFailsTheOutbox"},
	},
	{
		Name: "what a closure wrote before it failed is committed with the others",
		File: "outbox/commit.go",
		Old:  "} else if !g.run(l, c) {\n\t\t\treturn errAgain\n\t\t}", New: "} else {\n\t\t\tg.run(l, c)\n\t\t}",
		In: "outbox", Tests: []string{"TestAClosureThatFailsIsRolledBackAlone"},
	},
	{
		Name: "the room for records is used again while other closures of the commit have theirs in it",
		File: "outbox/commit.go",
		Old:  "running := &closure{ledger: l}", New: "running := &closure{ledger: l}\n\tg.o.room.block = g.o.room.block[:0]",
		In: "outbox", Tests: []string{"TestManyCallersShareCommitsAndKeepEveryEvent"},
	},
	{
		Name: "receipts are forgotten when the commit that has them in hand rolls back",
		File: "outbox/commit.go",
		Old:  "if id == 0 || err != nil {", New: "if id != 0 && err != nil {",
		In: "outbox", Tests: []string{"TestAReceiptRidesOnTheNextCommitAndSurvivesItsRollBack"},
	},
	{
		Name: "the checksum of a record is not compared",
		File: "outbox/record.go",
		Old:  "if binary.BigEndian.Uint32(b[2:]) != recordCRC(sequence, b) {", New: "if len(b) == 0 {",
		In: "outbox", Tests: []string{"TestEveryFlippedBitOfARecordIsFound"},
	},
	{
		Name: "the checksum of a record does not cover its sequence",
		File: "outbox/record.go",
		Old:  "crc := crc32.Update(0, castagnoli, key[:])", New: "crc := uint32(0)",
		In: "outbox", Tests: []string{"TestEveryFlippedBitOfARecordIsFound"},
	},
	{
		Name: "the last event of a receipt is not counted as delivered",
		File: "outbox/settle.go",
		Old:  "if sequence > through {", New: "if sequence >= through {",
		In: "outbox", Tests: []string{"TestAReceiptMovesTheCursorAndCountsEachEventOnce"},
	},
	{
		Name: "what Redis accepted under an old origin is stored",
		File: "outbox/settle.go",
		Old:  "if s.Progress = r.Progress; r.Origin != l.origin() {", New: "if s.Progress = r.Progress; r.Origin == \"\" {",
		In: "outbox", Tests: []string{"TestAReceiptOfAnEarlierOriginKeepsTheCursorButNotWhatRedisAccepted"},
	},
	{
		Name: "the bytes of pruned events stay in the counters of their topic",
		File: "outbox/prune.go",
		Old:  "\ts.bytes -= size\n", New: "",
		In: "outbox", Tests: []string{"TestPruneRemovesDeliveredEventsAfterTheRetentionPeriod"},
	},
	{
		Name: "the reserve is not kept for urgent events",
		File: "outbox/prune.go",
		Old:  "if !e.Urgent {", New: "if e.Urgent {",
		In: "outbox", Tests: []string{"TestTheByteCap"},
	},
	{
		Name: "the first pending event is pruned",
		File: "outbox/prune.go",
		Old:  "if sequence > s.cursor ||", New: "if sequence > s.cursor+1 ||",
		In: "outbox", Tests: []string{"TestPrune_KeepsPendingEventsHoweverOldTheyAre"},
	},
	{
		Name: "the newest snapshot is pruned",
		File: "outbox/prune.go",
		Old:  "if sequence == s.snapshot || l.has(", New: "if l.has(",
		In: "outbox", Tests: []string{"TestPruneRemovesDeliveredEventsAfterTheRetentionPeriod"},
	},
	{
		Name: "what may be published again is pruned",
		File: "outbox/prune.go",
		Old:  "sequence >= s.TailFrom", New: "sequence > s.TailFrom",
		In: "outbox", Tests: []string{"TestPruneRemovesDeliveredEventsAfterTheRetentionPeriod"},
	},
	{
		Name: "parked and discarded events are read",
		File: "outbox/read.go",
		Old:  "if parked(sequence) || closed(sequence) {", New: "if parked(sequence) && closed(sequence) {",
		In: "outbox", Tests: []string{"TestDiscardedEventsAreNeitherReadNorReplayed"},
	},
	{
		Name: "the cursor stops before a discarded event when the one before it is parked",
		File: "outbox/park.go",
		Old:  "\t\tl.passClosed(topic, s)\n", New: "",
		In: "outbox", Tests: []string{"TestPark_PassesOverWhatWasDiscardedBehindTheEvent"},
	},
	{
		Name: "a stale snapshot that was replayed once counts as new",
		File: "outbox/replay.go",
		Old:  "if cmp.Or(entry.ReplayOf, sequence) < newest[topic] {", New: "if sequence < newest[topic] {",
		In: "outbox", Tests: []string{"TestReplay_RefusesAStaleSnapshotThatWasReplayedBefore"},
	},
}
