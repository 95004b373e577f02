package simulation

// Shrink takes steps, subscribers and events away from a schedule for as long as what is left still fails.
func Shrink(s Schedule, fails func(Schedule) bool) Schedule {
	for changed := true; changed; {
		changed = false
		for size := max(1, len(s.Steps)/2); size >= 1; size /= 2 {
			for from := 0; from+size <= len(s.Steps); {
				less := s
				less.Steps = append(append([]Step{}, s.Steps[:from]...), s.Steps[from+size:]...)
				if fails(less) {
					s, changed = less, true
				} else {
					from += size
				}
			}
		}
		for i := range s.Clients {
			less := s
			less.Clients = append(append([]Args{}, s.Clients[:i]...), s.Clients[i+1:]...)
			less.requireNoMore()
			if len(less.Clients) > 0 && fails(less) {
				s, changed = less, true
				break
			}
		}
		for i, step := range s.Steps { // fewer events
			if n := step.Args.number("n"); step.Do == "append" && n > 1 {
				less := s
				less.Steps = append([]Step{}, s.Steps...)
				less.Steps[i] = Step{step.At, step.Do, step.Args.with("n", "1")}
				if fails(less) {
					s, changed = less, true
				}
			}
		}
	}
	return s
}
