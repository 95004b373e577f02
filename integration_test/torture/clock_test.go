package torture

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/PitchConnect/matchrelay/relay"
	"github.com/PitchConnect/matchrelay/relay/control"
)

// onClock moves the clock, after some tries if need be.
func (r *rig) onClock(a action) {
	by, err := time.ParseDuration(a.arg)
	if err != nil {
		r.find("%v", err)
		return
	}
	why := ""
	for try := 0; try < 20; try++ {
		if why = r.jump(by); why == "" {
			return
		}
		<-time.After(200 * time.Millisecond)
	}
	r.note("no jump: %s", why)
}

// jump moves the clock. Before it goes forward, whatever may be pruned by that is looked at and is in the streams, so that it
// can be judged; it says why that cannot be done now.
func (r *rig) jump(by time.Duration) (why string) {
	r.pruning.Lock()
	defer r.pruning.Unlock()
	if by > 0 {
		last, err := r.book.look()
		if err != nil {
			return err.Error()
		}
		if why := r.unprunable(); why != "" {
			return why
		}
		r.jumped = last
	}
	r.clock += by
	path := filepath.Join(r.logs, "clock")
	err := os.WriteFile(path+".draft", []byte(r.clock.String()), 0o600)
	if err == nil {
		err = os.Rename(path+".draft", path)
	}
	if err != nil {
		r.find("move the clock: %v", err)
	}
	return ""
}

// unprunable says what a stream lacks that the outbox might prune.
func (r *rig) unprunable() string {
	s, err := r.status()
	if err != nil {
		return err.Error()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	client := r.pair.client()
	defer client.Close()
	for _, t := range s.Outbox.Topics {
		newest, err := client.XRevRangeN(ctx, relay.StreamKey(channels[t.Topic]), "+", "-", 1).Result()
		if err != nil {
			return err.Error()
		}
		last := uint64(0)
		if len(newest) > 0 {
			text, _ := newest[0].Values["sequence"].(string)
			last, _ = strconv.ParseUint(text, 10, 64)
		}
		if last < t.Cursor {
			return fmt.Sprintf("the stream of %s ends at #%d, its cursor is at #%d", t.Topic, last, t.Cursor)
		}
	}
	return ""
}

func (r *rig) status() (control.Status, error) {
	client, err := control.Dial(r.db() + ".sock")
	if err != nil {
		return control.Status{}, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return client.Status(ctx)
}
