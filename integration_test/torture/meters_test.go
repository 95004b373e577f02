package torture

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// meters sample every process of the program, and the outbox file.
type meters struct {
	r      *rig
	mu     sync.Mutex
	series map[string][]int // by what is measured, of which life of which process; guarded by mu
}

// enough is how many samples of something there must be, one in half a second, so that it is judged.
const enough = 40

func newMeters(r *rig) *meters { return &meters{r: r, series: map[string][]int{}} }

func (m *meters) watch(ctx context.Context) {
	for ctx.Err() == nil {
		for _, p := range m.r.processes {
			if pid := p.pid(); pid != 0 {
				m.sample(p.name, pid)
			}
		}
		if info, err := os.Stat(m.r.db()); err == nil {
			m.add("file size", int(info.Size()))
		}
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (m *meters) sample(name string, pid int) {
	folder := filepath.Join("/proc", strconv.Itoa(pid))
	status, err := os.ReadFile(filepath.Join(folder, "status"))
	if err != nil {
		return // it has just ended
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "RssAnon:"); ok { // without the mapped file
			if kb, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "kB"))); err == nil {
				m.add(fmt.Sprintf("memory of %s, process %d", name, pid), kb<<10)
			}
		}
	}
	if files, err := os.ReadDir(filepath.Join(folder, "fd")); err == nil {
		m.add(fmt.Sprintf("descriptors of %s, process %d", name, pid), len(files))
	}
}

func (m *meters) add(what string, value int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.series[what] = append(m.series[what], value)
}

// readGoroutines takes in what the copies of the test binary wrote down.
func (m *meters) readGoroutines() {
	text, _ := os.ReadFile(filepath.Join(m.r.logs, meterFile)) // none is no harm
	for line := range strings.Lines(string(text)) {
		var pid, n int
		if _, err := fmt.Sscan(line, &pid, &n); err == nil {
			what := fmt.Sprint("goroutines of process ", pid)
			m.add(what, n)
			m.add(what, n) // they come half as often
		}
	}
}

// judge compares the last quarter of each series with its second one: the medians, so that a burst is no growth.
func (m *meters) judge() {
	m.readGoroutines()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, what := range slices.Sorted(maps.Keys(m.series)) {
		series := m.series[what]
		n := len(series)
		if n < enough {
			continue
		}
		early, late := median(series[n/4:n/2]), median(series[n*3/4:])
		most := 0
		switch what[:4] {
		case "memo":
			most = early + early/2 + 64<<20
		case "desc":
			most = early + 40
		case "goro":
			most = early + 60
		case "file":
			most = early + early/2 + 16<<20
		}
		m.r.note("%s: %d at first, %d in the end, of %d samples", what, early, late, n)
		if late > most {
			m.r.find("%s has grown from %d to %d (%d samples)", what, early, late, n)
		}
	}
}

func median(values []int) int {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
