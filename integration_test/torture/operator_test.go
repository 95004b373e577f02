package torture

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/PitchConnect/matchrelay/outbox"
)

func (r *rig) onOperator(a action) {
	r.pruning.RLock()
	defer r.pruning.RUnlock()
	switch a.what {
	case "post what Redis refuses":
		r.refuseAbove(refusedBytes)
		r.book.postRefused()
	case "replay parked":
		r.refuseAbove(512 << 20)
		r.do("events", "replay", "--state", "parked", "--yes", "--reason", "torture")
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

// refuseAbove sets how large a message may be, if the master listens.
func (r *rig) refuseAbove(bytes int) {
	client := r.pair.client()
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := client.ConfigSet(ctx, "proto-max-bulk-len", strconv.Itoa(bytes)).Err(); err != nil {
		r.note("Redis is away: %v", err)
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
	if chosen > 0 {
		r.do("events", "discard", "--seq", fmt.Sprint(chosen), "--yes", "--reason", "torture")
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
