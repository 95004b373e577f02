package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// printed is what a report prints of events, each written as "action package test output".
func printed(t *testing.T, events ...[4]string) (*report, string) {
	t.Helper()
	var in, out strings.Builder
	for _, e := range events {
		line, err := json.Marshal(event{Action: e[0], Package: e[1], Test: e[2], Output: e[3]})
		require.NoError(t, err)
		in.WriteString(string(line) + "\n")
	}
	r := newReport(&out)
	require.NoError(t, r.read(strings.NewReader(in.String())))
	return r, out.String()
}

func TestReport_OfAPackageThatPassesIsGosOwnLine(t *testing.T) {
	r, text := printed(t,
		[4]string{"start", "x/a"}, [4]string{"run", "x/a", "TestOne"}, [4]string{"output", "x/a", "TestOne", "=== RUN   TestOne\n"},
		[4]string{"output", "x/a", "TestOne", "a log\n"}, [4]string{"run", "x/a", "TestOne/sub"}, [4]string{"pass", "x/a", "TestOne/sub"},
		[4]string{"pass", "x/a", "TestOne"}, [4]string{"output", "x/a", "", "PASS\n"}, [4]string{"output", "x/a", "", "ok  \tx/a\t1.2s\n"},
		[4]string{"pass", "x/a"},
		[4]string{"start", "x/none"}, [4]string{"output", "x/none", "", "?   \tx/none\t[no test files]\n"}, [4]string{"skip", "x/none"})
	require.Equal(t, "run \tx/a\nok  \tx/a\t1.2s\nrun \tx/none\n?   \tx/none\t[no test files]\n", text)
	require.Equal(t, "make test: passed, 1 package, 1 test in 3 min 41 s", r.verdict("make test", true, 221*time.Second))
}

func TestReport_OfAPackageThatFailsIsWhole(t *testing.T) {
	r, text := printed(t,
		[4]string{"run", "x/a", "TestOne"}, [4]string{"output", "x/a", "TestOne", "fine\n"}, [4]string{"pass", "x/a", "TestOne"},
		[4]string{"run", "x/a", "TestRace"}, [4]string{"output", "x/a", "TestRace", "WARNING: DATA RACE\n"}, [4]string{"pass", "x/a", "TestRace"},
		[4]string{"run", "x/a", "TestTwo"}, [4]string{"run", "x/a", "TestTwo/sub"}, [4]string{"output", "x/a", "TestTwo/sub", "=== CONT  TestTwo/sub\n"},
		[4]string{"output", "x/a", "TestTwo/sub", "wrong\n"}, [4]string{"fail", "x/a", "TestTwo/sub"}, [4]string{"fail", "x/a", "TestTwo"},
		[4]string{"run", "x/a", "TestEndless"}, [4]string{"output", "x/a", "TestEndless", "still here\n"},
		[4]string{"output", "x/a", "", "panic: test timed out\n"}, [4]string{"output", "x/a", "", "FAIL\tx/a\t1.2s\n"}, [4]string{"fail", "x/a"},
		[4]string{"output", "x/b", "", "found unexpected goroutines\n"}, [4]string{"output", "x/b", "", "FAIL\tx/b\t1.2s\n"}, [4]string{"fail", "x/b"},
		[4]string{"run", "x/c", "TestCut"})
	require.Equal(t, "WARNING: DATA RACE\nwrong\nstill here\npanic: test timed out\nFAIL\tx/a\t1.2s\nfound unexpected goroutines\nFAIL\tx/b\t1.2s\n", text)
	require.Equal(t, "make test: failed after 59 s: these tests failed: a.TestEndless, a.TestTwo/sub, c.TestCut, package b",
		r.verdict("make test", false, 59*time.Second))
}

func TestReport_SaysWhyAPackageIsNotBuilt(t *testing.T) {
	var out strings.Builder
	r := newReport(&out)
	require.NoError(t, r.read(strings.NewReader(`{"ImportPath":"x/a","Action":"build-output","Output":"a.go:1: syntax error\n"}
not an event
{"ImportPath":"x/a","Action":"build-fail"}
{"Action":"output","Package":"x/a","Output":"FAIL\tx/a [build failed]\n"}
{"Action":"fail","Package":"x/a"}`)))
	require.Equal(t, "a.go:1: syntax error\nnot an event\nFAIL\tx/a [build failed]\n", out.String())
	require.Equal(t, "t: failed after 1 s: these tests failed: package a", r.verdict("t", false, time.Second))
}

func TestRun_ExitsAsItsCommandDoes(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -KILL $$": 1} {
		code, err := run("make test", []string{"sh", "-c", script})
		require.NoError(t, err)
		require.Equal(t, want, code, script)
	}
	_, err := run("make test", []string{"./no such program"})
	require.Error(t, err)
}

func TestCounted_HasCommas(t *testing.T) {
	for n, want := range map[int]string{0: "0 tests", 1: "1 test", 999: "999 tests", 1234: "1,234 tests", 1234567: "1,234,567 tests"} {
		require.Equal(t, want, counted(n, "test"))
	}
}
