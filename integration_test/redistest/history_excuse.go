package redistest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// excuse counts the appends of one message that need not arrive, by reason.
type excuse map[string]int

// unpublished need not be in a stream.
func (e excuse) unpublished() int { return e[Parked] + e[Discarded] + e[Replayed] + e[Pending] }

// unheard need not reach a subscriber.
func (e excuse) unheard() int { return e.unpublished() + e[Unheard] + e[Reheard] }

// settled are counted as something else than pending.
func (e excuse) settled() int { return e.unheard() - e[Pending] }

// excuses reads Excused, and refuses what would excuse nothing.
func (h History) excuses() (map[string]excuse, []Finding) {
	appends := map[string]int{}
	for _, e := range h.Appended {
		appends[e.MessageID]++
	}
	excuses := map[string]excuse{}
	var nonsense []Finding
	refuse := func(id, format string, args ...any) {
		nonsense = append(nonsense, Finding{Kind: Unexplained, Observer: "excused", Event: Event{Topic: id}, Detail: fmt.Sprintf(format, args...)})
	}
	for _, id := range slices.Sorted(maps.Keys(h.Excused)) {
		reasons := h.Excused[id]
		list := strings.Split(reasons, ",")
		if len(list) > appends[id] {
			refuse(id, "%d reasons for %d appends", len(list), appends[id])
		}
		excuses[id] = excuse{}
		for _, reason := range list {
			switch reason = strings.TrimSpace(reason); reason {
			case Parked, Discarded, Replayed, Unheard, Reheard, Pending:
				excuses[id][reason]++
			default:
				refuse(id, "%q is no reason", reason)
			}
		}
	}
	return excuses, nonsense
}
