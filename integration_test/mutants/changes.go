package mutants

var ofChanges = []Mutant{
	{
		Name: "an event is appended without the state that it follows from",
		File: "changes/record.go",
		Old:  "err = store(tx, records, s.Removed)", New: "err = store(tx, records[:0], nil)",
		In: "changes", Tests: []string{"TestAListIsStoredTogetherWithItsEvent"},
	},
	{
		Name: "nothing is recorded when nothing but removals changed",
		File: "changes/record.go",
		Old:  "\tif !s.Changed() {", New: "\tif len(s.New)+len(s.Updated)+len(s.Cancelled) == 0 {",
		In: "changes", Tests: []string{"TestRecord_TellsOfRemovalsAlone"},
	},
	{
		Name: "lists are compared within the transaction",
		File: "changes/ahead.go",
		Old:  "\t\twrite := work(ctx)\n", New: "",
		Also: []Change{{"err = o.Update(ctx, func(tx *bbolt.Tx) error {\n", "err = o.Update(ctx, func(tx *bbolt.Tx) error {\n\t\t\twrite := work(ctx)\n"}},
		In:   "changes/api", Tests: []string{"TestPostEvent_WaitsForNoComparisonOfALargeList"},
	},
	{
		Name: "the comparison of one match goes on after its context",
		File: "changes/diff.go",
		Old:  "p.compare(ctx)", New: "p.compare(context.WithoutCancel(ctx))",
		In: "changes", Tests: []string{"TestRecord_EndsInTheMiddleOfOneLargeMatchWithItsContext"},
	},
	{
		Name: "removed matches stay in the state",
		File: "changes/state.go",
		Old:  "for _, id := range removed {", New: "for _, id := range removed[:0] {",
		In: "changes", Tests: []string{"TestAListIsStoredTogetherWithItsEvent"},
	},
	{
		Name: "the bytes of a stored match are not compared with their hash",
		File: "changes/state.go",
		Old:  "!bytes.Equal(h[:], record[1:headerSize])", New: "len(h) == 0",
		In: "changes", Tests: []string{"TestADamagedStateIsAnErrorAndNeverAllNew"},
	},
	{
		Name: "an older list is accepted when it was fetched in the same second",
		File: "changes/marks.go",
		Old:  "case at.Before(newest):", New: "case at.Before(newest.Truncate(time.Second)):",
		In: "changes", Tests: []string{"TestRecord_RefusesAListThatIsOlderByANanosecond"},
	},
	{
		Name: "a cycle undoes a list that came while it fetched",
		File: "changes/marks.go",
		Old:  "mark(tx, recordedKey) > meta.turn", New: "false",
		In: "changes", Tests: []string{"TestCycle_DoesNotUndoAListThatCameWhileItFetchedAfterEarlierOnes"},
	},
	{
		Name: "whether a list came while a cycle fetched is told by the clock",
		File: "changes/marks.go",
		Old:  "if mark(tx, recordedKey) > meta.turn {", New: "if meta.FetchedAt.Before(fetched(tx, now)) {",
		In: "changes", Tests: []string{"TestCycle_UndoesNoListThatCameAfterItBegan_WhenTheClockWasSetBack"},
	},
	{
		Name: "a match that was to be played today, and was moved, is not urgent",
		File: "changes/diff.go",
		Old:  "p.today = p.day(prev) == today || p.day(curr) == today", New: "p.today = p.day(curr) == today",
		In: "changes", Tests: []string{"TestAChangeOnTheDayOfTheMatchIsCritical"},
	},
	{
		Name: "today is the day in UTC",
		File: "changes/diff.go",
		Old:  "today := d.now.In(d.location)", New: "today := d.now.UTC()",
		In: "changes", Tests: []string{"TestAChangeOnTheDayOfTheMatchIsCritical"},
	},
	{
		Name: "an item at the end of a longer list is not seen",
		File: "changes/equal.go",
		Old:  "slices.EqualFunc(a, b, equal)", New: "slices.EqualFunc(a[:min(len(a), len(b))], b[:min(len(a), len(b))], equal)",
		In: "changes", Tests: []string{"TestDiff_SeesThatAListOfAnUnknownFieldGetsShorterOrLonger"},
	},
	{
		Name: "a referee who is listed once is paired with each who is listed twice",
		File: "changes/people.go",
		Old:  "waiting[k] = waiting[k][1:]", New: "waiting[k] = waiting[k][0:]",
		In: "changes", Tests: []string{"TestReferees_ArePairedAsByComparingAllWithAll", "TestMatch_AsksForEachKeyOnce"},
	},
	{
		Name: "an empty list removes every match unasked",
		File: "changes/record.go",
		Old:  "len(l.matches) == 0 && c.stored > 0 && !meta.AllowEmpty", New: "len(l.matches) == 0 && c.stored == 0 && !meta.AllowEmpty",
		In: "changes", Tests: []string{"TestAnEmptyListIsRefusedUnlessItIsAllowed"},
	},
	{
		Name: "a list is recorded though another one was since it was compared",
		File: "changes/ahead.go",
		Old:  "if versionOf(tx) == base {", New: "if base == base {",
		Also: []Change{{"if try < tries && versionOf(tx) != base {", "if try > tries {"}},
		In:   "changes", Tests: []string{"TestRecord_ComparesAgainWhenAnotherListCameMeanwhile", "TestRecord_AtOnceEachTellsTheDifferenceToTheOneBefore"},
	},
	{
		Name: "a comparison goes on when its context has ended",
		File: "changes/diff.go",
		Old:  "if err := ctx.Err(); err != nil {", New: "if err := context.Background().Err(); err != nil {",
		In: "changes", Tests: []string{"TestRecord_EndsInTheMiddleOfAComparisonWithItsContext"},
	},
	{
		Name: "a match may have a referee too many",
		File: "schema/scan.go",
		Old:  "found > r.most", New: "found > r.most+1",
		In: "schema", Tests: []string{"TestParseMatches_LimitsThePeopleOfAMatch"},
	},
}
