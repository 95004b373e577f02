package redistest

// arrival is an event and its place among all that arrived of its topic.
type arrival struct {
	Event
	at int
}

// order is one topic: what was appended, and what one observer saw of it.
type order struct {
	log       []Event
	arrivals  []arrival
	mayRepeat map[string]bool
	excused   func(messageID string) int // how many of its first appends need not arrive
	trimmed   bool                       // whatever is missing before the first arrival is fine

	appends map[string][]int // positions in the log, by message ID
	seen    []bool           // by position
	due     []bool           // by position: not excused
	newest  int              // the highest position that arrived in order
}

func (o *order) check() []Finding {
	o.prepare()
	var findings []Finding
	previous := -1
	runStart := -1 // where the current run of repeats began; -1 outside of one
	for _, a := range o.arrivals {
		found := func(k Kind) { findings = append(findings, Finding{Kind: k, Event: a.Event, Position: a.at}) }
		if len(o.appends[a.MessageID]) == 0 {
			found(Unknown)
			continue
		}
		i := o.firstTime(a.MessageID)
		switch {
		case i < 0 && !o.mayRepeat[a.MessageID]:
			found(Repeated)
			continue
		case i < 0:
			i = o.again(a.MessageID, previous, runStart)
			if i <= previous {
				if runStart >= 0 && i < runStart {
					found(OutOfOrder)
				}
				runStart = i
			}
		case i < o.newest:
			found(OutOfOrder)
		default:
			o.newest, runStart = i, -1
		}
		o.seen[i], previous = true, i
	}
	return append(findings, o.lost()...)
}

// prepare finds out which append may be meant by which arrival. When a message
// arrives less often than it was appended, it is the excused ones that are
// missing; of a trimmed stream, the first ones.
func (o *order) prepare() {
	o.appends, o.seen, o.due, o.newest = map[string][]int{}, make([]bool, len(o.log)), make([]bool, len(o.log)), -1
	for i, e := range o.log {
		o.appends[e.MessageID] = append(o.appends[e.MessageID], i)
	}
	arrived := map[string]int{}
	for _, a := range o.arrivals {
		arrived[a.MessageID]++
	}
	for id, positions := range o.appends {
		excused := min(o.excused(id), len(positions))
		for n, i := range positions {
			o.due[i] = n >= excused
		}
		missing, may := len(positions)-arrived[id], excused
		if o.trimmed {
			may = len(positions)
		}
		if n := min(missing, may); n > 0 && n < len(positions) {
			o.appends[id] = positions[n:]
		}
	}
}

// firstTime is the position of the append that an arrival is the first one of:
// the next one, else one that comes late; -1 if it is a repeat.
func (o *order) firstTime(id string) int {
	next, late, repeat := -1, -1, false
	for _, i := range o.appends[id] {
		switch {
		case o.seen[i]:
			repeat = o.mayRepeat[id]
		case i > o.newest && next < 0:
			next = i
		case i > o.newest && o.mayRepeat[id] && !o.due[next] && !o.skips(i):
			next = i // an arrival more than is due need not mean that what is excused has arrived
		case i < o.newest && late < 0:
			late = i
		}
	}
	if repeat && (next < 0 || !o.due[next] || o.skips(next)) {
		return -1
	}
	if next >= 0 {
		return next
	}
	return late
}

// skips says whether events that are due come before the next one: then it is
// no new arrival, but the old one again.
func (o *order) skips(next int) bool {
	for i := o.newest + 1; i < next; i++ {
		if o.due[i] && !o.seen[i] {
			return true
		}
	}
	return false
}

// again is the position of a repeat: the one that goes on with the run if there
// is one, else the lowest that may start the next run.
func (o *order) again(id string, previous, runStart int) int {
	positions := o.appends[id]
	for _, i := range positions {
		if o.seen[i] && i > previous {
			return i
		}
	}
	for _, i := range positions {
		if o.seen[i] && i >= runStart {
			return i
		}
	}
	return positions[0]
}

func (o *order) lost() []Finding {
	first, last := 0, -1
	for i := range o.log {
		if o.due[i] {
			last = i
		}
	}
	if o.trimmed {
		for first < last && !o.seen[first] {
			first++
		}
	}
	var findings []Finding
	for i := first; i < len(o.log); i++ {
		if o.due[i] && !o.seen[i] {
			findings = append(findings, Finding{Kind: Lost, Event: o.log[i], Position: i})
		}
	}
	return findings
}
