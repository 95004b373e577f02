// Package fogistest makes match lists that look like those of FOGIS, for
// demonstrations, tests and benchmarks.
//
// Everything in them is made up: the persons, the example.com addresses, the
// 070-1740605-style numbers (from the series that the Swedish authority
// reserves for fiction). A Feed is deterministic: the same seed, size and
// calls give the same bytes.
//
//	feed := fogistest.New(1, 15, time.Now())
//	list := feed.JSON()                      // 15 matches, about 5 KB each
//	change := feed.Apply(fogistest.NewKickOff)
//	list = feed.JSON()                       // the list with the change
//	fmt.Println(change.Description, change.Categories)
package fogistest
