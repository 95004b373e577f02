package mutants

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/integration_test/redistest"
)

// Whether each is caught takes minutes, and a command of its own; that it can still be tried does not.
func TestMutants_FitTheCodeAndTheTests(t *testing.T) {
	root, err := Root()
	require.NoError(t, err)
	names, testsIn := map[string]bool{}, map[string][]string{}
	for _, m := range All() {
		require.False(t, names[m.Name], "two mutants have the name %q", m.Name)
		names[m.Name] = true
		_, err := m.Mutated(root)
		require.NoError(t, err, m.Name)
		require.NotEmpty(t, m.Tests, m.Name)
		if testsIn[m.In] == nil {
			testsIn[m.In] = testsOf(t, filepath.Join(root, m.In))
		}
		for _, name := range m.Tests {
			name, _, _ = strings.Cut(name, "/")
			require.Contains(t, testsIn[m.In], name, "%s: %s has no such test", m.Name, m.In)
		}
	}
	require.GreaterOrEqual(t, len(names), 40)
}

var testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// testsOf names the tests of a package.
func testsOf(t *testing.T, folder string) (names []string) {
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, match := range testFunc.FindAllStringSubmatch(string(text), -1) {
			names = append(names, match[1])
		}
	}
	return names
}

// A script that Redis does not take fails every test, which would show nothing.
func TestMutants_OfScriptsAreTakenByRedis(t *testing.T) {
	root, err := Root()
	require.NoError(t, err)
	client := redistest.Start(t, redistest.Options{}).Client()
	for _, m := range All() {
		if filepath.Ext(m.File) != ".lua" {
			continue
		}
		script, err := m.Mutated(root)
		require.NoError(t, err, m.Name)
		if base := filepath.Base(m.File); base == "publish.lua" || base == "restore.lua" { // as redis.go puts them together
			entry, err := os.ReadFile(filepath.Join(root, "relay", "entry.lua"))
			require.NoError(t, err)
			script = slices.Concat(entry, script)
		}
		require.NoError(t, client.ScriptLoad(context.Background(), string(script)).Err(), m.Name)
	}
}

// sample is a module with a package that has a fault to come, and tests.
func sample(t *testing.T) {
	t.Helper()
	folder := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":          "module sample\n\ngo 1.26\n",
		"sum/sum.go":      "package sum\n\nimport _ \"embed\"\n\n//go:embed word.txt\nvar word string\n\nfunc sum(a, b int) int { return a + b }\n",
		"sum/word.txt":    "hello",
		"sum/sum_test.go": sampleTests,
	} {
		path := filepath.Join(folder, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	t.Chdir(filepath.Join(folder, "sum"))
}

const sampleTests = `package sum

import (
	"flag"
	"os/exec"
	"testing"
)

var most = flag.Int("most", 2, "")

func TestSum(t *testing.T) {
	for i := range *most {
		t.Run("of some", func(t *testing.T) {
			if sum(i, 1) != i+1 {
				t.Fatal("wrong")
			}
		})
	}
}

func TestWord(t *testing.T) {
	if word != "hello" {
		t.Fatal(word)
	}
}

func TestBuilds(t *testing.T) {
	if out, err := exec.Command("go", "vet", ".").CombinedOutput(); err != nil {
		t.Fatalf("%s", out)
	}
}

func TestFails(t *testing.T) { t.Fatal("always") }
`

func TestRun_TellsWhatBecameOfAMutant(t *testing.T) {
	sample(t)
	plus := Mutant{Name: "it subtracts", File: "sum/sum.go", Old: "a + b", New: "a - b", In: "sum", Tests: []string{"TestSum"}}
	edit := func(change func(m *Mutant)) Mutant { m := plus; change(&m); return m }
	for _, tt := range []struct {
		name   string
		m      Mutant
		args   []string
		caught string // by what
		err    string
	}{
		{name: "a test fails", m: plus, caught: "TestSum/of_some"},
		{name: "a test that sees nothing", m: edit(func(m *Mutant) { m.Tests = []string{"TestWord"} })},
		{name: "arguments go to the tests", m: plus, args: []string{"-most=0"}},
		{name: "an embedded file", m: edit(func(m *Mutant) { m.File, m.Old, m.New, m.Tests = "sum/word.txt", "hell", "jell", []string{"TestWord"} }), caught: "TestWord"},
		{name: "what a test builds has the fault", m: edit(func(m *Mutant) {
			m.Old, m.New, m.Tests = "a + b }", "a + b }\n\nfunc f(x int) { x = x }", []string{"TestBuilds"} // vet finds that
		}), caught: "TestBuilds"},
		{name: "it panics", m: edit(func(m *Mutant) { m.New = "[]int{a}[b]" }), caught: "TestSum/of_some"},
		{name: "several changes", m: edit(func(m *Mutant) {
			m.Old, m.New, m.Also = "int {", "int { a, b = b, a;", []Change{{"return a", "return -a"}}
		}), caught: "TestSum/of_some"},
		{name: "it does not compile", m: edit(func(m *Mutant) { m.New = "a + c" }), err: "does not compile"},
		{name: "it is no Go", m: edit(func(m *Mutant) { m.New = "a +" }), err: "expected operand"},
		{name: "the snippet is not there", m: edit(func(m *Mutant) { m.Old = "a * b" }), err: "0 times in sum/sum.go"},
		{name: "the snippet is there twice", m: edit(func(m *Mutant) { m.Old = "sum" }), err: "2 times in sum/sum.go"},
		{name: "nothing changes", m: edit(func(m *Mutant) { m.New = m.Old }), err: "nothing changes"},
		{name: "there is no such test", m: edit(func(m *Mutant) { m.Tests = []string{"TestSu"} }), err: "has no test that ^TestSu$ matches"},
		{name: "it hangs", m: edit(func(m *Mutant) { m.New = "func() int { for { } }()" }), args: []string{"-test.timeout=1s"}},
		{name: "it hangs, and says so", m: edit(func(m *Mutant) { m.New, m.Hangs = "func() int { for { } }()", true }), args: []string{"-test.timeout=1s"}, caught: "panic: test timed out after 1s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Run(t.Context(), tt.m, tt.args...)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.caught != "", r.Caught, r.Output)
			if tt.caught != "" {
				require.Equal(t, tt.caught, r.By, r.Output)
			}
		})
	}
	original, err := RunOriginal(t.Context(), plus)
	require.NoError(t, err)
	require.False(t, original.Caught, original.Output)
	text, err := os.ReadFile("sum.go")
	require.NoError(t, err)
	require.Contains(t, string(text), "a + b", "the file itself has not changed")
}

func TestTry_WantsTestsThatPassWithoutTheMutant(t *testing.T) {
	sample(t)
	plus := Mutant{Name: "it subtracts", File: "sum/sum.go", Old: "a + b", New: "a - b", In: "sum", Tests: []string{"TestSum"}}
	fails := plus
	fails.Name, fails.Tests = "it has a test that always fails", []string{"TestFails"}
	var told []string
	err := Try(t.Context(), []Mutant{fails, plus}, 2, func(m Mutant, r Result) { told = append(told, m.Name+" "+r.By) })
	require.ErrorContains(t, err, "its tests fail without it")
	require.Equal(t, []string{"it subtracts TestSum/of_some"}, told)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, Try(ended, []Mutant{plus}, 1, nil), context.Canceled)
}

func TestSelect_GoesByNameAndFile(t *testing.T) {
	list := []Mutant{{Name: "An fsync is dropped", File: "outbox/draft.go"}, {Name: "two steps", File: "relay/lane.go"}}
	require.Equal(t, list, Select(list, nil))
	require.Equal(t, list[:1], Select(list, []string{"FSYNC"}))
	require.Equal(t, list, Select(list, []string{"draft", "lane.go"}))
	require.Empty(t, Select(list, []string{"nothing"}))
}
