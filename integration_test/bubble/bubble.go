// Package bubble lets an outbox be used in the bubbles of testing/synctest, where time is virtual.
package bubble

import (
	"context"
	"errors"
	"path/filepath"
	"sync"

	"github.com/PitchConnect/matchrelay/outbox"
)

var warm sync.Once

// WarmUp makes what an outbox makes once for the whole process, the compressor's channels above all: what is made within a bubble
// cannot be used by the next one. It is to be called outside of any, with a folder to write to; only the first call does.
func WarmUp(folder string) (err error) {
	warm.Do(func() { err = compress(filepath.Join(folder, "warm-up.db")) })
	return err
}

// compress has an outbox compress an event, and read it.
func compress(path string) error {
	const topic = "warm_up"
	ctx := context.Background()
	box, err := outbox.Open(path, outbox.Options{})
	if err != nil {
		return err
	}
	if _, err = box.Add(ctx, outbox.Event{Topic: topic, MessageID: "long", Payload: make([]byte, 64<<10)}); err == nil {
		_, err = box.Read(ctx, outbox.Range{Topic: topic, Events: 1, Bytes: 1 << 20})
	}
	return errors.Join(err, box.Close())
}
