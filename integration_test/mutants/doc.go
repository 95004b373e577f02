// Package mutants holds faults that a maintainer could bring into the code, and shows that a test catches each.
//
//	m := mutants.Mutant{
//		Name: "the run of Redis is not compared", File: "relay/publish.lua", Old: "ARGV[2] ~= run", New: "run == ''",
//		In: "relay", Tests: []string{"TestPublish_InsistsOnTheRunOfRedis"},
//	}
//	result, err := mutants.Run(ctx, m)
//
// A mutant is a snippet of one file that is replaced by another one. Nothing changes in the checkout: the file as it would be
// goes to a temporary folder, and the go command builds with it (-overlay), embedded files included. What the tests build by
// themselves has the fault, too.
//
// Only a test that fails catches a mutant. One that does not compile is an error, and so is a test that fails without it. A test
// that does not end catches those that say so (Mutant.Hangs).
//
// All is the list of this module; package try runs it.
package mutants
