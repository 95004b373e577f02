package powerloss

import (
	"maps"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// notNeeded are syncs without which no state fails, and why the program makes them nevertheless.
var notNeeded = []struct{ sync, why string }{
	{`append \d+: fsync of data/of/mine/outbox.db`, "bbolt's, of a file that has grown; the sync of the pages that comes next makes the size durable, too"},
	{`open 1: fdatasync of .*\(draft\), number [12]`, "bbolt's, of a file that has no name yet; the one of the last meta page covers it"},
	{`open 1: fsync of .*\(draft\)`, "bbolt's, of a file that has grown and has no name yet"},
	{`compact \d+: .*\(draft\)`, "bbolt's, of a file that has no name yet, and the draft's own: one of them is enough"},
	{`save a backup \d+: fsync of data/of/mine/outbox.db \(draft\)`, "the file without a name that a copy is read from: it may be lost"},
	{`(open|settle) ([2-9]|\d\d+): fsync of data/of/mine`, "the name is durable, unless its maker was killed"},
	{`restore \d+: fsync of data/of`, "the folder is durable, unless its maker was killed"},
	{`restore \d+: fsync of data/of/mine, number 1`, "the copy of the old file has its name before that file is replaced; nothing is promised until the restore has returned"},
	{`compact \d+: fsync of data/of/mine, number 1`, "opening the old file: as above"},
}

// together are those of which one at least is needed.
var together = map[string][]string{
	"commits": {`open 1: .*\(draft\)`},
	"compact": {`compact \d+: .*\(draft\)`},
}

// Every sync that the program makes is there for something: without it, some state of the disk breaks a promise. So a
// state that is wrong is found, too.
func TestPowerLoss_FindsEverySyncThatIsMissing(t *testing.T) {
	for _, workload := range []string{"commits", "backup", "restore", "compact"} {
		t.Run(workload, func(t *testing.T) {
			r := newRecording(t)
			r.record(t, workload)
			r.job.OmitEach = true
			found := r.withoutSyncs(t)
			names := slices.Sorted(maps.Keys(found))
			needed := 0
			for _, name := range names {
				excused := slices.ContainsFunc(notNeeded, func(n struct{ sync, why string }) bool { return matches(n.sync, name) })
				switch {
				case found[name] == "" && !excused:
					t.Errorf("%s: no state fails without it", name)
				case found[name] != "":
					t.Logf("%s: %s", name, found[name])
					needed++
				}
			}
			t.Logf("%d of %d syncs are needed", needed, len(names))
			r.job.OmitEach = false
			for _, pattern := range together[workload] {
				omit := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !matches(pattern, name) })
				r.job.Omit = append(r.job.Omit, omit)
			}
			if r.job.Omit == nil {
				return
			}
			for names, problem := range r.withoutSyncs(t) {
				require.NotEmpty(t, problem, "no state fails without %s", names)
			}
		})
	}
}

func matches(pattern, name string) bool {
	return regexp.MustCompile("^" + pattern + "(, number .*)?$").MatchString(name)
}

// withoutSyncs says, for each sync or group of them that the job leaves out, what fails without it, or "".
func (r *recording) withoutSyncs(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, r.check(t, func(m message) {
		if m.Done {
			found[m.Checking] = m.Failed
		}
	}))
	return found
}
