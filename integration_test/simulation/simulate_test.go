package simulation

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestOne(t *testing.T) {
	from, _ := strconv.ParseUint(os.Getenv("FROM"), 10, 64)
	n, _ := strconv.ParseUint(os.Getenv("SEEDS"), 10, 64)
	trace := os.Getenv("TRACE") != ""
	began := time.Now()
	var virtual time.Duration
	bad := 0
	events, calls := 0, 0
	for seed := from; seed < from+max(1, n); seed++ {
		s := Draw(seed)
		dir, _ := os.MkdirTemp("/dev/shm", "sim")
		r := Run(t, s, dir, trace)
		os.RemoveAll(dir)
		virtual += r.Virtual
		events += r.Events
		calls += r.Calls
		if len(r.Violations) > 0 {
			bad++
			fmt.Println("seed", seed, r.Violations[0])
		}
		if trace {
			fmt.Print(s)
			for _, l := range r.Trace {
				fmt.Println(l)
			}
		}
	}
	fmt.Println("took", time.Since(began), "virtual", virtual, "bad", bad, "events", events, "calls", calls)
}

func TestSame(t *testing.T) {
	from, _ := strconv.ParseUint(os.Getenv("FROM"), 10, 64)
	n, _ := strconv.ParseUint(os.Getenv("SEEDS"), 10, 64)
	for seed := from; seed < from+n; seed++ {
		var traces [2][]string
		for i := range traces {
			dir, _ := os.MkdirTemp("/dev/shm", "sim")
			traces[i] = Run(t, Draw(seed), dir, true).Trace
			os.RemoveAll(dir)
		}
		other := map[string]bool{}
		for _, l := range traces[1] {
			other[l] = true
		}
		for i, l := range traces[0] {
			if !other[l] {
				fmt.Println("seed", seed, "differs", "\n"+strings.Join(traces[0][max(0, i-8):min(len(traces[0]), i+3)], "\n"), "\n==\n", strings.Join(traces[1][max(0, i-4):min(len(traces[1]), i+5)], "\n"))
				break
			}
		}
	}
}
