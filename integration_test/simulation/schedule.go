package simulation

import (
	"bufio"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Schedule is everything that decides a run.
type Schedule struct {
	Seed     uint64 // of how long things take
	Settings Args
	Clients  []Args // the subscribers
	Steps    []Step // in order of time
}

// requireNoMore requires no more subscribers of a topic than will be there in the end.
func (s *Schedule) requireNoMore() {
	s.Settings = maps.Clone(s.Settings)
	for _, topic := range topics {
		n := 0
		for _, c := range s.Clients {
			if slices.Contains(c.list("topics"), topic) {
				n++
			}
		}
		s.Settings["min."+topic] = strconv.Itoa(min(n, s.Settings.number("min."+topic)))
	}
}

// Step is something that happens at a time.
type Step struct {
	At   time.Duration // since the run began
	Do   string        // one of verbs
	Args Args
}

// has says whether there is a step of a kind.
func (s Schedule) has(verb string) bool {
	return slices.ContainsFunc(s.Steps, func(step Step) bool { return step.Do == verb })
}

// Args are named values of a step, or of the settings.
type Args map[string]string

func (a Args) text(name string) string { return a[name] }

func (a Args) number(name string) int {
	n, _ := strconv.Atoi(a[name])
	return n
}

func (a Args) duration(name string) time.Duration {
	d, _ := time.ParseDuration(a[name])
	return d
}

func (a Args) list(name string) []string {
	if a[name] == "" {
		return nil
	}
	return strings.Split(a[name], ",")
}

func (a Args) String() string {
	var b strings.Builder
	for i, name := range slices.Sorted(maps.Keys(a)) {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s=%s", name, a[name])
	}
	return b.String()
}

// args makes Args of names and values that follow each other.
func args(pairs ...any) Args {
	a := Args{}
	for i := 0; i < len(pairs); i += 2 {
		a[pairs[i].(string)] = fmt.Sprint(pairs[i+1])
	}
	return a
}

func (s Step) String() string {
	return strings.TrimRight(fmt.Sprintf("%v %s %v", s.At, s.Do, s.Args), " ")
}

// String is the schedule in the form that Parse reads.
func (s Schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d\nset %v\n", s.Seed, s.Settings)
	for _, c := range s.Clients {
		fmt.Fprintf(&b, "subscriber %v\n", c)
	}
	for _, step := range s.Steps {
		fmt.Fprintln(&b, step)
	}
	return b.String()
}

// Parse reads a schedule. Empty lines, and those that begin with #, say nothing.
func Parse(text string) (Schedule, error) {
	var s Schedule
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if err := s.parseLine(words); err != nil {
			return s, fmt.Errorf("line %d: %w", n, err)
		}
	}
	return s, nil
}

func (s *Schedule) parseLine(words []string) (err error) {
	switch words[0] {
	case "seed":
		if len(words) != 2 {
			return fmt.Errorf("expected: seed NUMBER")
		}
		s.Seed, err = strconv.ParseUint(words[1], 10, 64)
		return err
	case "set":
		s.Settings, err = parseArgs(words[1:])
		return err
	case "subscriber":
		c, err := parseArgs(words[1:])
		s.Clients = append(s.Clients, c)
		return err
	}
	var step Step
	if step.At, err = time.ParseDuration(words[0]); err != nil {
		return err
	}
	if len(words) < 2 || verbs[words[1]] == nil {
		return fmt.Errorf("expected one of %v after the time", slices.Sorted(maps.Keys(verbs)))
	}
	step.Do = words[1]
	step.Args, err = parseArgs(words[2:])
	s.Steps = append(s.Steps, step)
	return err
}

func parseArgs(words []string) (Args, error) {
	a := Args{}
	for _, w := range words {
		name, value, ok := strings.Cut(w, "=")
		if !ok {
			return a, fmt.Errorf("%q: expected NAME=VALUE", w)
		}
		a[name] = value
	}
	return a, nil
}

// with is a copy with another value.
func (a Args) with(name, value string) Args {
	changed := maps.Clone(a)
	changed[name] = value
	return changed
}
