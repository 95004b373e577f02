// Package torture has no code but its tests: the real program, in several processes, with real Redis servers, while everything
// that can go wrong goes wrong at once, at random.
//
//	make torture TORTURE=10m         # 60s, the default, is part of make test
//	make torture TORTURE=10m SEED=42 # the same plan of actions again
//
// A plan is drawn from a seed: for each of its actors a list of actions, each with its time. The actors are processors (matchrelay
// run, with and without a relay in it, and one that links the library), two separate relays, a Redis master and its replica,
// subscribers, a consumer of the streams, the networks between them, the disk, the clock, and operators. When the plan is over,
// every fault is lifted, everything that is pending is delivered, and the judge compares what was appended with what every
// subscriber has received and what the streams hold.
//
// A seed gives the same actions at the same times of the plan. What they meet depends on the machine, so a failure may need
// several runs of its seed to come again.
//
// Files: plan_test.go: what happens when. rig_test.go: everything that takes part. stage_test.go, and pair_test.go, clock_test.go,
// disk_test.go, operator_test.go: what each action does. process_test.go, worker_test.go, consumer_test.go: the processes.
// book_test.go: what was appended. judge_test.go, observers_test.go: whether it arrived. tails_test.go: what may come again.
// meters_test.go: memory, descriptors, goroutines, file size. journal_test.go: what is left behind when something is wrong.
package torture
