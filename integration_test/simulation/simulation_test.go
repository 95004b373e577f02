package simulation

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	scheduleFlag = flag.String("schedule", "", "run this schedule instead of those in testdata")
	stepsFlag    = flag.Bool("steps", false, "print what happens")
)

// Fresh seeds each time: what one run of the tests has not found, the next one may. SEEDS and FROM choose others; with STOP
// the first that fails ends the run.
func TestSimulation_KeepsEveryPromise(t *testing.T) {
	n, from := number(t, "SEEDS", 1000), number(t, "FROM", uint64(time.Now().UnixMicro()))
	_, stop := os.LookupEnv(stopEnv)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	began := time.Now()
	var mu sync.Mutex
	var sum report
	failed, ran := 0, 0
	var all sync.WaitGroup
	share := (n + processes() - 1) / processes()
	for first := from; first < from+n; first += share {
		all.Go(func() {
			runProcess(ctx, t, fmt.Sprintf("%s=%d:%d", rangeEnv, first, min(share, from+n-first)), func(r report) {
				mu.Lock()
				defer mu.Unlock()
				if ctx.Err() != nil {
					return
				}
				ran++
				sum.Virtual += r.Virtual
				sum.Events += r.Events
				sum.Calls += r.Calls
				if len(r.Violations) > 0 {
					if failed++; failed <= 5 {
						explain(t, fmt.Sprint("seed ", r.Seed), r)
					} else {
						t.Errorf("seed %d: %s", r.Seed, r.Violations[0])
					}
					if stop {
						cancel()
					}
				}
			})
		})
	}
	all.Wait()
	fmt.Printf("note: simulation: %d seeds from %d on, %d failed; %d h of virtual time, %d events, %d calls of Redis in %v\n",
		ran, from, failed, int(sum.Virtual.Hours()), sum.Events, sum.Calls, time.Since(began).Round(time.Second))
	if ctx.Err() == nil {
		require.Equal(t, int(n), ran, "seeds that were run")
	}
}

// What once failed, and what is worth being looked at in each run of the tests.
func TestSchedules_KeepEveryPromise(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	if *scheduleFlag != "" {
		files = []string{*scheduleFlag}
	}
	if *stepsFlag {
		t.Setenv(traceEnv, "yes")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			runProcess(t.Context(), t, scheduleEnv+"="+file, func(r report) {
				for _, line := range r.Trace {
					fmt.Println(line)
				}
				if len(r.Violations) > 0 {
					explain(t, file, r)
				}
			})
		})
	}
}

// The same schedule goes the same way each time, or a seed would be worth nothing: to some microseconds, for where a topic has
// two reasons to look up at one instant, select takes any.
func TestSimulation_IsRepeatable(t *testing.T) {
	t.Setenv(traceEnv, "yes")
	var runs [2][]report
	for i := range runs {
		runProcess(t.Context(), t, fmt.Sprintf("%s=%d:%d", rangeEnv, 1, 20), func(r report) { runs[i] = append(runs[i], r) })
	}
	require.Len(t, runs[1], len(runs[0]))
	for i, r := range runs[0] {
		require.Equal(t, published(r), published(runs[1][i]), "seed %d", r.Seed)
	}
}

// published is what Redis did for each channel, in its order.
func published(r report) map[string][]string {
	lines := map[string][]string{}
	for _, line := range r.Trace {
		_, what, _ := strings.Cut(line, " ")
		if words := strings.Fields(what); len(words) > 1 && (words[0] == "PUBLISH" || words[0] == "XADD") {
			lines[words[1]] = append(lines[words[1]], what)
		}
	}
	return lines
}

func TestSchedule_ComesBackFromItsText(t *testing.T) {
	for seed := range uint64(200) {
		s := Draw(seed)
		back, err := Parse(s.String())
		require.NoError(t, err)
		require.Equal(t, s.String(), back.String())
	}
	for text, want := range map[string]string{
		"seed":                  "seed NUMBER",
		"seed x":                "invalid syntax",
		"set a":                 `"a": expected NAME=VALUE`,
		"5s":                    "expected one of",
		"5s fly":                "expected one of",
		"soon append":           "invalid duration",
		"# nothing\n\n5s fly":   "line 3",
		"subscriber present no": "expected NAME=VALUE",
	} {
		_, err := Parse(text)
		require.ErrorContains(t, err, want, text)
	}
}

func TestShrink_LeavesOnlyWhatMatters(t *testing.T) {
	s := Draw(7)
	matters := func(s Schedule) bool {
		n := 0
		for _, step := range s.Steps {
			if step.Do == "append" {
				n++
			}
		}
		return n >= 2
	}
	require.True(t, matters(s))
	s = Shrink(s, matters)
	require.Len(t, s.Steps, 2)
	require.Len(t, s.Clients, 1)
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(m.Run())
}
