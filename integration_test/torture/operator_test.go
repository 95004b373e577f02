package torture

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/PitchConnect/matchrelay/outbox"
)

func (r *rig) onOperator(a action) {
	r.pruning.RLock()
	defer r.pruning.RUnlock()
	switch a.what {
	case "post what Redis refuses":
		r.book.postRefused()
	case "replay parked": // to be parked once more: Redis takes none of them before the plan is over
		r.replay()
	case "discard parked":
		r.discard(outbox.Parked)
	case "discard pending":
		r.discard(outbox.Pending)
	case "pause", "resume", "resync":
		r.do(strings.Fields(map[string]string{"pause": "pause", "resume": "resume", "resync": "resync --yes"}[a.what])...)
	case "status":
		r.do("status")
	case "retry now":
		r.do("retry-now")
	case "ingest":
		r.changeList()
		r.do("ingest", r.list())
	}
}

func (r *rig) replay() {
	r.do("events", "replay", "--state", "parked", "--yes", "--reason", "torture")
}

// takeAll has the master take what it has refused so far, for good.
func (r *rig) takeAll() {
	client := r.pair.client()
	defer client.Close()
	if err := client.ConfigSet(context.Background(), "proto-max-bulk-len", strconv.Itoa(512*refusedBytes)).Err(); err != nil {
		r.find("set proto-max-bulk-len: %v", err)
	}
}

// discard gives the newest event up that is in a state, if that is not yet to be pruned.
func (r *rig) discard(state outbox.State) {
	if _, err := r.book.look(); err != nil {
		return
	}
	chosen := uint64(0)
	r.book.mu.Lock()
	for sequence, f := range r.book.facts {
		if f.state == state && sequence > r.jumped {
			chosen = max(chosen, sequence)
		}
	}
	r.book.mu.Unlock()
	if chosen > 0 && r.do("events", "discard", "--seq", fmt.Sprint(chosen), "--yes", "--reason", "torture").code == 0 {
		r.book.discarded(chosen)
	}
}

func (r *rig) onKeeper(a action) {
	switch a.what {
	case "back up":
		path := filepath.Join(r.logs, "backup.db")
		_ = os.Remove(path)
		if r.do("backup", "save", path).code == 0 {
			if got := r.do("backup", "verify", path); got.code != 0 {
				r.find("a backup does not verify: %s%s", got.stdout, got.stderr)
			}
		}
	case "check":
		r.do("check")
	case "compact":
		r.do("compact")
	}
}

func (r *rig) onWhole(a action) {
	all := []*process{r.processor, r.veteran, r.relay}
	if a.what == "start all" {
		for _, p := range all {
			p.release()
		}
		return
	}
	for _, p := range all {
		p.hold()
	}
	if r.do("compact").code == 0 {
		r.compacted = true
	}
}
