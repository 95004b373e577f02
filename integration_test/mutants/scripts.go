package mutants

// ofScripts are those of the scripts. All of these but one are also caught by TestModel_AgreesWithARealServer, which holds the
// scripts and the simulation's model of them to each other. That an event is skipped in the stream because another file has added
// one with its number, it does not see: a stream that is ahead of the mark by just such an event is drawn too rarely.
var ofScripts = []Mutant{
	{
		Name: "what no one heard of the tail is not counted when the answer was lost",
		File: "relay/republish.lua",
		Old:  "if published > 0 and (#unheard > 0 or", New: "if published < 0 and (#unheard > 0 or",
		In: "relay", Tests: []string{"TestTail_ThatNoOneHearsIsUnheardEvenWhenTheAnswerWasCutOff"},
	},
	{
		Name: "the script publishes a tail again to fewer subscribers than required",
		File: "relay/republish.lua",
		Old:  "  if receivers >= 0 and receivers < tonumber(ARGV[3]) then\n", New: "  if receivers >= 0 and receivers < 0 then\n",
		In: "integration_test/simulation", Tests: []string{"TestModel_AgreesWithARealServer"},
	},
	{
		Name: "a held topic publishes when one subscriber fewer than required is there",
		File: "relay/publish.lua",
		Old:  "receivers < tonumber(ARGV[5])", New: "receivers < tonumber(ARGV[5]) - 1",
		In: "relay", Tests: []string{"TestATopicThatRequiresASubscriberIsHeldWhileOthersGoOn"},
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
		Name: "every entry of a batch names what was before the batch as its predecessor",
		File: "relay/publish.lua",
		Old:  "i > 1 and event(i - 1) or ARGV[3]", New: "ARGV[3]",
		In: "relay", Tests: []string{"TestPredecessor_IsTheEventBeforeOfTheSameTopic"},
	},
	{
		Name: "a stream is trimmed past what a consumer group has still to read",
		File: "relay/entry.lua",
		Old:  "  return most\nend\n", New: "  return keep\nend\n",
		In: "relay", Tests: []string{"TestTrimming_LeavesWhatAGroupHasStillToRead"},
	},
	{
		Name: "a stream is trimmed past what a consumer group has not acknowledged",
		File: "relay/entry.lua",
		Old:  "if field.pending > 0 then", New: "if field.pending < 0 then",
		In: "relay", Tests: []string{"TestTrimming_LeavesWhatAGroupHasStillToRead"},
	},
	{
		Name: "the tail is published again twice when its answer is cut off",
		File: "relay/republish.lua",
		Old:  "if mark[3] == run then", New: "if false then",
		In: "relay", Tests: []string{"TestALargeTailWhoseAnswerIsCutOffComesAgainOnce"},
	},
	{
		Name: "a lost mark is restored whatever has taken its place",
		File: "relay/restore.lua",
		Old:  "if seq ~= ARGV[1] or id ~= ARGV[2] or KEYS[2] and (sseq ~= ARGV[3] or sid ~= ARGV[4]) then", New: "if KEYS[2] == '' then",
		In: "relay", Tests: []string{"TestOfTwoRelaysOnlyOneFillsAnEmptyStream"},
	},
}
